// Builds the dashboard into dist/dashboard: static files that need nothing but the gateway's own HTTP API.
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';
import { verifyPage } from './verify/plugin.ts';

export default defineConfig({
  base: './',
  plugins: [svelte({ configFile: false }), verifyPage()],
  build: {
    outDir: '../../dist/dashboard',
    emptyOutDir: true,
    target: 'es2022',
    // The gateway's CSP allows no inline script and every browser of the target loads modules by itself.
    modulePreload: false,
    assetsInlineLimit: 0,
    sourcemap: false,
    reportCompressedSize: false,
  },
  // `vite gateway/dashboard` during development: the API of a gateway running on this machine.
  server: { proxy: { '/api': 'http://127.0.0.1:8080', '/ledger': 'http://127.0.0.1:8080' } },
});
