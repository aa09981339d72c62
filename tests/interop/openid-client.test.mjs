// openid-client as the DPoP caller. It answers `use_dpop_nonce` itself, from both servers, so its user never hears of a nonce.
import assert from 'node:assert/strict';
import { after, beforeEach, describe, test } from 'node:test';

import * as client from 'openid-client';

import { CLIENTS } from './authority.mjs';
import { asking, opaqueAt } from './opaque.mjs';
import { openScene } from './scene.mjs';
import { assertForwarded } from './verdict.mjs';

const scene = await openScene({ more: asking('json') });
after(() => scene.close());
beforeEach(() => scene.upstream.requests.splice(0));

const { client_id, client_secret } = CLIENTS.dpop;
const server = new URL(scene.authority.issuer);
const config = await client.discovery(server, client_id, undefined, client.ClientSecretPost(client_secret), {
  algorithm: 'oauth2',
  [client.customFetch]: scene.fetch,
});
const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'));
for (const [kind, resource, who] of [
  ['a JWT', scene.gateway.url, {}],
  ['an opaque token', opaqueAt(scene), { subject: null }],
]) describe(kind, async () => {
  const { access_token } = await client.clientCredentialsGrant(
    config, { scope: 'accounts:read', resource }, { DPoP },
  );
  const identity = { client: CLIENTS.dpop, binding: 'dpop', thumbprint: await DPoP.calculateThumbprint(), ...who };

  for (const path of ['/accounts', '/nonce', '/nonce/again']) {
    test(`${path} is let through`, async () => {
      const url = new URL(path, scene.gateway.url);
      const { status } = await client.fetchProtectedResource(config, access_token, url, 'GET', undefined, undefined, { DPoP });
      assertForwarded(scene, status, identity);
    });
  }

  test('the same token without its key is a challenge that the library understands', async () => {
    const url = new URL('/accounts', scene.gateway.url);
    await assert.rejects(client.fetchProtectedResource(config, access_token, url, 'GET'), (error) => {
      assert.ok(error instanceof client.WWWAuthenticateChallengeError);
      // RFC 9449 Figure 18: what serves comes first, and the scheme that was tried carries the error.
      const [first, second] = error.cause;
      assert.equal(first.scheme, 'dpop');
      assert.match(first.parameters.algs, /ES256/);
      assert.deepEqual([second.scheme, second.parameters.error], ['bearer', 'invalid_token']);
      return true;
    });
    assert.equal(scene.upstream.requests.length, 0);
  });
});
