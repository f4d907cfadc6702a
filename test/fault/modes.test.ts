// The same for the log's other settings: syncs at intervals, where only what was said to be durable must survive a power
// cut, and a full disk that the oldest segments make room on.
import { sweptTests } from './swept.ts';

sweptTests(({ name }) => /^(sync at|drop the oldest)/.test(name));
