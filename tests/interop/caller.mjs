// A caller built on oauth4webapi: discovers the authorization server, gets a token bound to a key of its own, sends requests with it.
import * as oauth from 'oauth4webapi';

/** What the callers ask for: the gateway's public URL as the resource, so that `aud` names it (RFC 8707). */
export const SCOPE = 'accounts:read';

/**
 * Gets a token for one of the authority's CLIENTS. `algorithm` is the proof key's, null for a caller without one; `certificate`
 * is shown to both servers. `keyPair` and `token` are bare so that a test can misuse them.
 */
export async function openCaller(scene, { client_id, client_secret }, options = {}) {
  const { algorithm = 'ES256', certificate, resource = scene.gateway.url } = options;
  const fetch = scene.fetchWith(certificate);
  const http = { [oauth.customFetch]: fetch };
  const client = { client_id };
  const keyPair = algorithm && (await oauth.generateKeyPair(algorithm));
  const dpop = keyPair ? { DPoP: oauth.DPoP(client, keyPair) } : {};

  const issuer = new URL(scene.authority.issuer);
  const discovered = await oauth.discoveryRequest(issuer, { ...http, algorithm: 'oauth2' });
  const server = await oauth.processDiscoveryResponse(issuer, discovered);

  const { access_token: token, token_type: type } = await onceMoreForANonce(async () => {
    const response = await oauth.clientCredentialsGrantRequest(
      server, client, oauth.ClientSecretPost(client_secret), { scope: SCOPE, resource }, { ...http, ...dpop },
    );
    return oauth.processClientCredentialsResponse(server, client, response);
  });

  const jkt = await dpop.DPoP?.calculateThumbprint();
  /** One request as the library sends it: a DPoP proof where it has a key, `Bearer` where it has not. It throws the challenge of a 401. */
  const send = (method, path, body = null, headers = {}) =>
    oauth.protectedResourceRequest(token, method, new URL(path, scene.gateway.url), new Headers(headers), body, { ...http, ...dpop });
  return { token, type, keyPair, jkt, fetch, send };
}

/** oauth4webapi keeps the nonce and leaves the second try to its caller (RFC 9449 §8 and §9). One is enough, so there is no third. */
export async function onceMoreForANonce(attempt) {
  try {
    return await attempt();
  } catch (error) {
    if (!oauth.isDPoPNonceError(error)) throw error;
    return attempt();
  }
}
