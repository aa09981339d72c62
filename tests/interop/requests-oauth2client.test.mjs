// requests-oauth2client, from the Python side of the world, as the DPoP caller; it answers `use_dpop_nonce` itself.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { CLIENTS } from './authority.mjs';
import { asking, opaqueAt } from './opaque.mjs';
import { openScene } from './scene.mjs';
import { assertForwarded } from './verdict.mjs';

const scene = await openScene({ more: asking('json') });
after(() => scene.close());
beforeEach(() => scene.upstream.requests.splice(0));

const CALLER = fileURLToPath(new URL('requests_oauth2client_caller.py', import.meta.url));

for (const [algorithm, kind, resource, who] of [
  ['ES256', 'a JWT', scene.gateway.url, {}],
  ['PS256', 'a JWT', scene.gateway.url, {}],
  ['EdDSA', 'a JWT', scene.gateway.url, {}],
  ['ES256', 'an opaque token', opaqueAt(scene), { subject: null }],
]) {
  for (const path of ['/accounts', '/accounts/1?verbose=yes', '/nonce']) {
    test(`${path} is let through with ${kind} and a ${algorithm} key`, async () => {
      const { client_id, client_secret } = CLIENTS.dpop;
      const { stdout } = await promisify(execFile)(
        process.env.HOLDFAST_PYTHON ?? 'python3',
        [CALLER, scene.authority.issuer, resource, algorithm, `${scene.gateway.url}${path}`],
        // An environment of its own: a proxy or a CA bundle of this machine's must not come between the caller and the gateway.
        { env: { REQUESTS_CA_BUNDLE: scene.ca.certificate, CLIENT_ID: client_id, CLIENT_SECRET: client_secret }, timeout: 30_000 },
      );
      const [jkt, status] = stdout.trim().split('\n');
      const arrived = assertForwarded(scene, Number(status), { client: CLIENTS.dpop, binding: 'dpop', thumbprint: jkt, ...who });
      assert.equal(arrived.url, path);
    });
  }
}
