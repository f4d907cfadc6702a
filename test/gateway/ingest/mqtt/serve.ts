// The MQTT adapter on a harness: on a free port, for anonymous clients of this machine unless told otherwise.
import { anonymousAccess } from '../../../../gateway/access/anonymous.ts';
import type { Access } from '../../../../gateway/access/types.ts';
import { CallerGuard } from '../../../../gateway/ingest/caller.ts';
import { type MqttConfig, mqttConfigSchema } from '../../../../gateway/ingest/mqtt/config.ts';
import { type MqttServer, startMqtt } from '../../../../gateway/ingest/mqtt/listener.ts';
import type { Harness } from '../../admission/harness.ts';

export type GivenConfig = Partial<Record<keyof MqttConfig, unknown>>;

export function serve(
  harness: Harness,
  config: GivenConfig = {},
  access: Access = anonymousAccess,
): Promise<MqttServer> {
  return startMqtt({
    config: mqttConfigSchema.parse({ port: 0, ...config }),
    admission: harness.admission,
    access,
    guard: new CallerGuard({ host: '127.0.0.1', allowedHosts: [] }),
    dataDir: harness.dataDir,
    logger: harness.lines,
  });
}
