// A body of a GiB passes in either direction while the gateway's memory stays flat: nothing is gathered, and the slower side sets the pace.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import { after, test } from 'node:test';
import { promisify } from 'node:util';

import { openScene } from './scene.mjs';

const GIB = 2 ** 30;
const MIB = 2 ** 20;
/** The windows and buffers of one exchange, both sides, with room. A body that is gathered would be a thousand. */
const MOST_GROWTH = 8 * MIB;
const PIECE = Buffer.alloc(64 * 1024);

/** Sends as many zeros as the path says, or says how many bytes came. */
async function serve(request, response) {
  if (request.method === 'GET') {
    for (let left = Number(request.url.split('/').at(-1)); left > 0; left -= PIECE.length) {
      if (!response.write(left < PIECE.length ? PIECE.subarray(0, left) : PIECE)) await once(response, 'drain');
    }
    return response.end();
  }
  let came = 0;
  for await (const piece of request) came += piece.length;
  return response.end(String(came));
}

async function listen(server) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  after(() => server.close());
  return `http://127.0.0.1:${server.address().port}`;
}

const one = await listen(http.createServer(serve));
const two = await listen(http2.createServer(serve));
const scene = await openScene({
  more: {
    upstreams: `  one: { servers: [${one}] }\n  two: { servers: [${two}], protocol: http2 }`,
    routes: `
  - { name: one, match: { path_prefix: /one }, upstream: one, public: true }
  - { name: two, match: { path_prefix: /two }, upstream: two, public: true }`,
    limits: 'limits: { body_bytes: 2GiB }',
  },
});
after(() => scene.close());

const curl = (...rest) => ['curl', '--silent', '--show-error', '--fail', '--cacert', scene.ca.certificate, ...rest];
const run = async (command, ...options) =>
  (await promisify(execFile)('bash', ['-c', `set -o pipefail; ${command}`, 'bash', ...options], { timeout: 110_000 })).stdout.trim();
const peak = () => Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${scene.gateway.pid}/status`, 'utf8'))[1]) * 1024;
const down = (version, path, bytes) => run('"$@" | wc --bytes', ...curl(version, `${scene.gateway.url}/${path}/${bytes}`));
const up = (version, path, bytes) => run(`head --bytes=${bytes} /dev/zero | "$@"`, ...curl(version, '--upload-file', '-', `${scene.gateway.url}/${path}`));

for (const version of ['--http1.1', '--http2']) {
  for (const path of ['one', 'two']) {
    for (const [way, pass] of [['up', up], ['down', down]]) {
      test(`curl ${version}, an upstream of HTTP/${path === 'one' ? 1.1 : 2}, a GiB ${way}`, async () => {
        // What one exchange takes, however long it is, is there afterwards.
        assert.equal(await pass(version, path, 16 * MIB), String(16 * MIB));
        const before = peak();
        assert.equal(await pass(version, path, GIB), String(GIB));
        const growth = peak() - before;
        console.log(`${version} ${path} ${way}: ${(growth / 1024).toFixed(0)} KiB more at the peak, ${(before / MIB).toFixed(1)} MiB before`);
        assert.ok(growth < MOST_GROWTH, `${(growth / MIB).toFixed(1)} MiB more`);
      });
    }
  }
}
