#!/usr/bin/env node
// The launcher: checks the Node version before anything else is loaded, then hands over to cli/main.
// It stays CommonJS without type annotations so that even Node 20 can read it and say what is missing.
const [major, minor] = process.versions.node.split('.').map(Number);

if (Number(major) < 22 || (Number(major) === 22 && Number(minor) < 18)) {
  console.error(
    `tidemark needs Node.js 22.18 or newer (this is ${process.versions.node}): install Node 24 LTS, or use \`npm start\` in the repository, which brings its own.`,
  );
  process.exit(2);
}

const extension = __filename.endsWith('.ts') ? 'ts' : 'js';
import(`../cli/main.${extension}`).then(
  (main) => main.run(process.argv.slice(2)),
  (error) => {
    console.error(error);
    process.exit(70);
  },
);
