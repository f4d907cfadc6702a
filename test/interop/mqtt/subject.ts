// The MQTT adapter as conformance suites want it: subscriptions to `test/nosubscribe` are refused, and the longest keep
// alive is 60 s. In a data directory of its own, removed at the end.
import { ANONYMOUS } from '../../../gateway/access/anonymous.ts';
import type { Access } from '../../../gateway/access/types.ts';
import type { MqttServer } from '../../../gateway/ingest/mqtt/listener.ts';
import { Harness } from '../../gateway/admission/harness.ts';
import { serve } from '../../gateway/ingest/mqtt/serve.ts';

const access: Access = {
  authenticate: () => ({
    principal: { ...ANONYMOUS, maySubscribe: (filter) => filter !== 'test/nosubscribe' },
  }),
  onChange: () => () => {},
};

export interface Subject {
  readonly server: MqttServer;
  /** Lines the gateway logged as errors: there should be none. */
  errors(): string[];
  stop(): Promise<void>;
}

export async function startSubject(): Promise<Subject> {
  const harness = await Harness.open();
  const server = await serve(
    harness,
    { maxKeepAliveSeconds: 60, receiveMaximum: 20, maxTopicAliases: 10 },
    access,
  );
  return {
    server,
    errors: () =>
      harness.lines.all.filter(({ level }) => level === 'error').map((line) => JSON.stringify(line.facts)),
    stop: async () => {
      await server.close();
      await harness.remove();
    },
  };
}
