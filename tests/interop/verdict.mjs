// What each answer has to look like from outside, and what the upstream may have seen of it.
import assert from 'node:assert/strict';

/** The request went through, once, without its credentials and with the identity that the gateway vouches for; `subject` null is none. Gives what arrived. */
export function assertForwarded(scene, status, { client, binding, thumbprint, subject = client.client_id }) {
  assert.equal(status, 200, `status ${status}; the gateway said:\n${scene.gateway.said()}`);
  assert.equal(scene.upstream.requests.length, 1, 'requests at the upstream');
  const [arrived] = scene.upstream.requests;
  assert.equal(arrived.headers.authorization, undefined, 'the token stays at the gateway');
  assert.equal(arrived.headers.dpop, undefined, 'the proof stays at the gateway');
  assert.equal(arrived.headers['x-auth-subject'], subject ?? undefined);
  assert.equal(arrived.headers['x-auth-client-id'], client.client_id);
  assert.equal(arrived.headers['x-auth-issuer'], scene.authority.issuer);
  assert.equal(arrived.headers['x-auth-scope'], 'accounts:read');
  assert.equal(arrived.headers['x-auth-binding'], binding);
  assert.equal(arrived.headers['x-auth-key-thumbprint'], thumbprint);
  return arrived;
}

/** The request was refused with `error` (none for no credentials), uncacheably, with a challenge; the upstream never heard of it. */
export function assertRefused(scene, { status, headers }, error) {
  const challenges = headers.get('www-authenticate');
  assert.equal(status, 401, `status ${status}; the gateway said:\n${scene.gateway.said()}`);
  assert.match(challenges, /^DPoP .*algs="[^"]*ES256/, 'the DPoP challenge comes first and says which algorithms serve');
  const errors = [...challenges.matchAll(/error="([^"]*)"/g)].map((match) => match[1]);
  assert.deepEqual([...new Set(errors)], error ? [error] : [], challenges);
  assert.equal(headers.get('cache-control'), 'no-store');
  assert.equal(scene.upstream.requests.length, 0, 'requests at the upstream');
}
