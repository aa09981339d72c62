// curl as the caller of RFC 8705: it gets a certificate-bound token with its certificate, and the token is worth nothing without it.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, beforeEach, test } from 'node:test';
import { promisify } from 'node:util';

import { decodeJwt } from 'jose';

import { CLIENTS } from './authority.mjs';
import { thumbprintOf } from './certificates.mjs';
import { openScene } from './scene.mjs';
import { assertForwarded, assertRefused } from './verdict.mjs';

const scene = await openScene();
after(() => scene.close());
beforeEach(() => scene.upstream.requests.splice(0));

const holder = scene.issue('holder', 'client');
const other = scene.issue('other', 'client');
const token = await certificateBoundToken();

/** One run of curl with `certificate`, or none. The token goes in by standard input: a command line is read by the whole machine. */
async function curl(certificate, url, { token, options = [] } = {}) {
  const shown = certificate ? ['--cert', certificate.certificate, '--key', certificate.key] : [];
  const running = promisify(execFile)(
    'curl',
    [
      '--disable', '--silent', '--show-error', '--include', '--max-time', '20', '--noproxy', '*',
      '--cacert', scene.ca.certificate, '--header', '@-', ...shown, ...options, url,
    ],
    { timeout: 30_000 },
  );
  running.child.stdin.end(token ? `Authorization: Bearer ${token}\n` : '');
  const [head, body] = (await running).stdout.split('\r\n\r\n');
  const [statusLine, ...lines] = head.split('\r\n');
  const headers = new Headers(lines.map((line) => line.split(/: (.*)/).slice(0, 2)));
  const [version, status] = statusLine.split(' ');
  return { version, status: Number(status), headers, body };
}

async function certificateBoundToken() {
  const { client_id, client_secret } = CLIENTS.mtls;
  const form = { grant_type: 'client_credentials', scope: 'accounts:read', resource: scene.gateway.url, client_id, client_secret };
  const options = Object.entries(form).flatMap(([name, value]) => ['--data-urlencode', `${name}=${value}`]);
  const { status, body } = await curl(holder, `${scene.authority.issuer}/token`, { options });
  assert.equal(status, 200, body);
  return JSON.parse(body).access_token;
}

test('the token names the certificate', () => {
  assert.deepEqual(decodeJwt(token).cnf, { 'x5t#S256': thumbprintOf(holder) });
});

for (const [options, version] of [[['--http1.1'], 'HTTP/1.1'], [['--http2'], 'HTTP/2'], [['--tls-max', '1.2'], 'HTTP/2']]) {
  test(`${options.join(' ')}: the certificate that the token names is let through`, async () => {
    const answer = await curl(holder, `${scene.gateway.url}/accounts`, { token, options });
    assertForwarded(scene, answer.status, { client: CLIENTS.mtls, binding: 'mtls', thumbprint: thumbprintOf(holder) });
    assert.equal(answer.version, version);
  });

  for (const [what, certificate] of [['another certificate of the same CA', other], ['no certificate', undefined]]) {
    test(`${options.join(' ')}: ${what} is refused`, async () => {
      const answer = await curl(certificate, `${scene.gateway.url}/accounts`, { token, options });
      assertRefused(scene, answer, 'invalid_token');
    });
  }
}

test('the certificate without a token is asked for one', async () => {
  assertRefused(scene, await curl(holder, `${scene.gateway.url}/accounts`), undefined);
});

test('a header that claims the certificate is not the certificate', async () => {
  const der = new X509Certificate(readFileSync(holder.certificate)).raw.toString('base64');
  const claimed = `Client-Cert: :${der}:`; // RFC 9440 §2.1, believed from a trusted proxy only
  const answer = await curl(other, `${scene.gateway.url}/accounts`, { token, options: ['--header', claimed] });
  assertRefused(scene, answer, 'invalid_token');
});
