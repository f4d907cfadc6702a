// Owns how an MQTT topic filter [MQTT-4.7] is written in the configuration. Knows nothing of subscriptions, nor of who may
// name which topics; topic-matcher.ts says whether one matches.
//
//   filter = level *("/" level)        level = "+" (any one level) | "#" (the rest; last level only) | text
import { z } from 'zod';

export const topicFilter = z
  .string()
  .min(1)
  .max(512)
  .regex(
    /^(?:(?:[^+#/\0]*|\+)\/)*(?:[^+#/\0]*|\+|#)$/,
    'must be an MQTT topic filter: + and # fill a whole level, # only the last',
  );

/** A filter of device topics: the gateway's own `$…` topics cannot be named. */
export const inputTopicFilter = topicFilter.regex(/^[^$]/, 'must not begin with `$`: results are no input');
