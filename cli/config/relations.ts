// What must hold between settings of different rooms, where a start that lets it pass would refuse records for ever
// or fail later with another reason. Refuses nothing that merely makes little sense.
import type { RefinementCtx } from 'zod';
import type { IngestConfig } from '../../gateway/admission/config.ts';
import type { HttpConfig } from '../../gateway/api/config.ts';
import type { MqttConfig } from '../../gateway/ingest/mqtt/config.ts';
import type { LogConfig } from '../../gateway/log/config.ts';
import type { WindowsConfig } from '../../gateway/windows/config.ts';
import type { ModelsConfig } from '../../models/config.ts';
import type { ForwardersConfig } from '../../sync/config.ts';

interface Sections {
  readonly ingest: IngestConfig;
  readonly log: LogConfig;
  readonly mqtt: MqttConfig;
  readonly http: HttpConfig;
  readonly windows: WindowsConfig;
  readonly models: ModelsConfig;
  readonly forwarders: ForwardersConfig;
}

/** Room in a stored record for lengths, times, counter, salt and the longest content type, beside its three texts. */
const RECORD_OVERHEAD_BYTES = 512;
/** Windows and models append up to 256 KiB at once, beside what devices send. */
const DERIVED_ROOM_BYTES = 512 * 1024;

const ANY_ADDRESS: ReadonlySet<string> = new Set(['0.0.0.0', '::']);

export function checkRelations(config: Sections, context: RefinementCtx): void {
  const complain = (path: string[], message: string) => context.addIssue({ code: 'custom', path, message });
  const { ingest, log } = config;

  const bodiesBytes = 2 * Math.max(ingest.maxBatchBytes, ingest.maxPayloadBytes);
  if (config.http.ingest.maxHeldBytes < bodiesBytes) {
    complain(
      ['http', 'ingest', 'maxHeldBytes'],
      `must be at least ${bodiesBytes}: a body of the size that ingest.maxBatchBytes allows, and what it is decompressed to`,
    );
  }

  const recordBytes =
    ingest.maxPayloadBytes + ingest.maxTopicBytes + ingest.maxDeviceBytes + RECORD_OVERHEAD_BYTES;
  if (recordBytes > log.maxRecordBytes) {
    complain(
      ['ingest', 'maxPayloadBytes'],
      `needs log.maxRecordBytes of at least ${recordBytes} (it is ${log.maxRecordBytes}): such a payload is stored with its topic, device and headers`,
    );
  }
  if (log.maxPendingBytes < DERIVED_ROOM_BYTES && config.windows.length + config.models.length > 0) {
    complain(
      ['log', 'maxPendingBytes'],
      `must be at least ${DERIVED_ROOM_BYTES} while windows or models run: the log would never have room for their results`,
    );
  }
  if (config.mqtt.enabled && collide(config.mqtt, config.http)) {
    complain(['mqtt', 'port'], `must differ from http.port (${config.http.port})`);
  }
  for (const [index, forwarder] of config.forwarders.entries()) {
    if (config.mqtt.enabled && isOwnPort(forwarder.url, config.mqtt)) {
      complain(
        ['forwarders', String(index), 'url'],
        'is this gateway’s own MQTT port: every record would come back as a new one, for ever',
      );
    }
  }
}

/** Only what can be told without asking a name server. */
function isOwnPort(url: string, mqtt: Address): boolean {
  const { protocol, hostname, port } = new URL(url);
  if (protocol !== 'mqtt:') return false;
  const local =
    hostname === 'localhost' || hostname === '[::1]' || /^127\./.test(hostname) || hostname === mqtt.host;
  return local && Number(port || 1883) === mqtt.port;
}

type Address = Pick<MqttConfig, 'host' | 'port'>;

function collide(one: Address, other: Address): boolean {
  const sameHost = one.host === other.host || ANY_ADDRESS.has(one.host) || ANY_ADDRESS.has(other.host);
  return sameHost && one.port !== 0 && one.port === other.port;
}
