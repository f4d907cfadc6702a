// Runs the Paho interoperability suites (eclipse/paho.mqtt.testing, a copy fetched by whoever runs this) against our
// listener: `node test/interop/mqtt/paho.ts <copy> [name …]`. One process and one fresh broker for each test, with a
// time limit, for several loop for ever when a packet is missing. Prints a line a test; exits 1 when one fails.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { startSubject } from './subject.ts';

const LIMIT_MS = 90_000;
const AT_ONCE = 4;

const [copy, ...names] = process.argv.slice(2);
const folder = copy === undefined ? '' : join(copy, 'interoperability');
if (copy === undefined || !existsSync(join(folder, 'client_test5.py'))) {
  console.log('skipped: give the path of a copy of github.com/eclipse/paho.mqtt.testing');
  process.exit(0);
}

/** What the suites' own main would set, and one test. */
const SCRIPT = `
import importlib, logging, sys, unittest
suite, name, port = sys.argv[1:]
module = importlib.import_module(suite)
module.host, module.port = '127.0.0.1', int(port)
module.topics = ('TopicA', 'TopicA/B', 'Topic/C', 'TopicA/C', '/TopicA')
module.wildtopics = ('TopicA/+', '+/C', '#', '/#', '/+', '+/+', 'TopicA/#')
module.topic_prefix = 'client_test5/'
module.nosubscribe_topics = ('test/nosubscribe',)
logging.getLogger().setLevel(logging.ERROR)
result = unittest.TextTestRunner().run(unittest.TestLoader().loadTestsFromName('Test.' + name, module))
sys.stdout.flush()
# Its reader threads would keep it.
import os
os._exit(0 if result.wasSuccessful() else 1)
`;

interface Case {
  readonly suite: string;
  readonly name: string;
}

const cases = ['client_test.py', 'client_test5.py'].flatMap((suite) =>
  [...readFileSync(join(folder, suite), 'utf8').matchAll(/^ {4}def (test\w*)\(self/gm)].map(
    ([, name]): Case => ({ suite, name: name! }),
  ),
);

async function run({ suite, name }: Case): Promise<{ passed: boolean; output: string }> {
  const subject = await startSubject();
  const child = spawn(
    'python3',
    ['-c', SCRIPT, suite.replace('.py', ''), name, String(subject.server.port)],
    {
      cwd: folder,
    },
  );
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      output = (output + String(chunk)).slice(-4_000);
    });
  const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  clearTimeout(timer);
  const errors = subject.errors();
  await subject.stop();
  return { passed: code === 0 && errors.length === 0, output: [...errors, output].join('\n') };
}

const wanted = cases.filter(({ name }) => names.length === 0 || names.includes(name));
const waiting = [...wanted];
let failed = 0;
await Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const { passed, output } = await run(next);
      console.log(`${passed ? 'passed' : 'FAILED'}  ${next.suite}  ${next.name}`);
      if (!passed) {
        failed += 1;
        console.log(output.replace(/^/gm, '    '));
      }
    }
  }),
);
console.log(`${wanted.length - failed} of ${wanted.length} passed`);
process.exit(failed > 0 ? 1 : 0);
