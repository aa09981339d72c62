// A caller as a page has it: WebCrypto, fetch and nothing else. The browser runs this file, from an origin that is neither server's.

const ES256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

/** A key that signs and that no script can read, not even this one (`extractable: false`). */
export async function makeKey() {
  const { privateKey, publicKey } = await crypto.subtle.generateKey(ES256, false, ['sign']);
  const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', publicKey);
  return { privateKey, jwk: { kty, crv, x, y } };
}

/** A DPoP proof (RFC 9449 §4.2). `token` and `nonce` where there is one. */
export async function makeProof({ privateKey, jwk }, method, url, { token, nonce } = {}) {
  const ath = token && base64url(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(token)));
  const { origin, pathname } = new URL(url);
  const claims = { jti: crypto.randomUUID(), htm: method, htu: origin + pathname, iat: Math.floor(Date.now() / 1000), ath, nonce };
  const parts = [{ typ: 'dpop+jwt', alg: 'ES256', jwk }, claims].map((part) => base64url(new TextEncoder().encode(JSON.stringify(part))));
  const input = parts.join('.');
  return `${input}.${base64url(await crypto.subtle.sign(ES256, privateKey, new TextEncoder().encode(input)))}`;
}

/** Sends a request with a proof. What a page can see of the answer: its status, some headers, its body; `blocked` when it can see nothing. */
export async function call(key, url, { method = 'GET', headers = {}, body, token, nonce } = {}) {
  const dpop = await makeProof(key, method, url, { token, nonce });
  const credentials = token ? { authorization: `DPoP ${token}`, dpop } : { dpop };
  return see(url, { method, headers: { ...headers, ...credentials }, body });
}

/** The same without a proof. */
export async function see(url, init) {
  try {
    const response = await fetch(url, init);
    return { status: response.status, headers: Object.fromEntries(response.headers), body: await response.text() };
  } catch (error) {
    return { blocked: String(error) };
  }
}

/** A token that is bound to the key, from the authority's token endpoint, which demands a nonce of its own. */
export async function getToken(key, endpoint, parameters) {
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const body = new URLSearchParams(parameters).toString();
  const first = await call(key, endpoint, { method: 'POST', headers, body });
  const second = await call(key, endpoint, { method: 'POST', headers, body, nonce: first.headers['dpop-nonce'] });
  return JSON.parse(second.body).access_token;
}

const base64url = (bytes) => new Uint8Array(bytes).toBase64({ alphabet: 'base64url', omitPadding: true });
