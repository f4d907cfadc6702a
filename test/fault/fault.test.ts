// Every system call of the log's life goes wrong in every way, and the power goes before every one of them: whatever is
// left keeps every promise. Enumerated; the number of cases is printed.
import { sweptTests } from './swept.ts';

sweptTests(({ name }) => !/^(rewrite|sync at|drop the oldest)/.test(name));
