// Renders all metrics as Prometheus text, with the process's own metrics beside it. Counts nothing itself.
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import { GATEWAY } from './gateway.ts';
import { INGEST } from './ingest.ts';
import { LEDGER } from './ledger.ts';
import { LOG } from './log.ts';
import type { Metric, MetricFigures } from './metric.ts';
import { MQTT } from './mqtt.ts';
import { SPARKPLUG, STAGES, WINDOWS } from './stages.ts';

const METRICS: readonly Metric[] = [
  ...GATEWAY,
  ...LOG,
  ...INGEST,
  ...MQTT,
  ...STAGES,
  ...WINDOWS,
  ...SPARKPLUG,
  ...LEDGER,
];

/** Returns what renders the Prometheus text for a set of figures, with the process's own metrics added. */
export function createMetrics(): {
  readonly contentType: string;
  render(figures: MetricFigures): Promise<string>;
} {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: 'tidemark_' });
  const build = new Gauge({
    name: 'tidemark_build_info',
    help: 'Always 1; version and origin are labels.',
    labelNames: ['version', 'origin'],
    registers: [registry],
  });
  const setters = METRICS.map((metric) => setterOf(metric, registry));
  return {
    contentType: registry.contentType,
    async render(figures) {
      const { version, origin } = figures.status;
      build.set({ version, origin }, 1);
      for (const set of setters) set(figures);
      return registry.metrics();
    },
  };
}

function setterOf(metric: Metric, registry: Registry): (figures: MetricFigures) => void {
  const { kind, help, label, read } = metric;
  const options = {
    name: `tidemark_${metric.name}`,
    help,
    labelNames: label ? [label] : [],
    registers: [registry],
  };
  // Counters are counted elsewhere and only shown here, hence reset and not inc alone.
  const target = kind === 'counter' ? new Counter(options) : new Gauge(options);
  return (figures) => {
    target.reset();
    const values = read(figures);
    if (typeof values === 'number') target.inc(values);
    else for (const [name, value] of Object.entries(values)) target.inc({ [label!]: name }, value);
  };
}
