// The same for what retention does to closed segments: a rewrite happens as a whole or not at all, and what was dropped
// or removed does not come back.
import { sweptTests } from './swept.ts';

sweptTests(({ name }) => name.startsWith('rewrite'));
