import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Tests start real processes and brokers; two at a time is what a 2-core machine carries quietly.
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Where nobody can look again, a test that fails gets a second try, which its line shows: see CONTRIBUTING.
    retry: process.env.CI ? 1 : 0,
    reporters: process.env.CI ? ['default'] : ['dot'],
  },
});
