// The authorization server: npm oidc-provider over HTTPS, with a key of its own making.
// It issues RFC 9068 access tokens bound to a DPoP key, to a client certificate, or to both, as each client is registered.
import { hash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import https from 'node:https';

import { exportJWK, exportPKCS8, generateKeyPair } from 'jose';
import Provider from 'oidc-provider';

import { TOKEN_EXCHANGE, exchangeTokens, saysWhoseItIs } from './exchange.mjs';

/** A resource that ends so gets opaque tokens, for the resource without it. */
const OPAQUE = /\/opaque$/;
const SCOPES = 'accounts:read accounts:write';

/** The registered clients. Each may use the client-credentials grant; they differ in what their tokens are bound to. */
export const CLIENTS = {
  dpop: { client_id: 'dpop-caller', client_secret: 'dpop-caller-secret', dpop_bound_access_tokens: true },
  mtls: { client_id: 'mtls-caller', client_secret: 'mtls-caller-secret', tls_client_certificate_bound_access_tokens: true },
  both: { client_id: 'both-caller', client_secret: 'both-caller-secret', dpop_bound_access_tokens: true },
  // As the MCP SDK shows who it is.
  mcp: { client_id: 'mcp-caller', client_secret: 'mcp-caller-secret', dpop_bound_access_tokens: true, token_endpoint_auth_method: 'client_secret_basic' },
  unbound: { client_id: 'unbound-caller', client_secret: 'unbound-caller-secret' },
};

/** The gateway as a client, in three ways of showing who it is and of being answered: it asks what opaque tokens are worth, and gets none itself. */
export const GATEWAYS = {
  json: { client_id: 'gateway-json', client_secret: 'a secret: 100%+', token_endpoint_auth_method: 'client_secret_basic' },
  jwt: { client_id: 'gateway-jwt', introspection_signed_response_alg: 'ES256' },
  encrypted: { client_id: 'gateway-encrypted', introspection_signed_response_alg: 'ES256', introspection_encrypted_response_alg: 'ECDH-ES' },
};

/** Listens on a free loopback port with the certificate of `server`; `close` ends it. */
export async function startAuthority(server) {
  const tls = https.createServer({
    cert: readFileSync(server.certificate),
    key: readFileSync(server.key),
    // RFC 8705 §7.2: certificates are asked for and their chain is not judged; what counts is that the caller holds the key.
    requestCert: true,
    rejectUnauthorized: false,
  });
  tls.listen(0, '127.0.0.1');
  await once(tls, 'listening');
  const issuer = `https://localhost:${tls.address().port}`;
  // One key pair signs the gateway's assertions and opens what is encrypted to it.
  const gateway = await generateKeyPair('ES256', { extractable: true });
  const exchanges = [];
  const answer = await provider(issuer, await exportJWK(gateway.publicKey), exchanges);
  let slow = 0;
  tls.on('request', (request, response) => (slow ? setTimeout(() => answer(request, response), slow).unref() : answer(request, response)));
  const stop = async () => {
    if (!tls.listening) return;
    tls.closeAllConnections();
    tls.close();
    await once(tls, 'close');
  };
  return {
    issuer,
    /** What was asked to be exchanged, oldest first: the form, and which client asked. */
    exchanges,
    gatewayKey: await exportPKCS8(gateway.privateKey),
    /** From now on it thinks for so long before each answer. */
    think(ms) {
      slow = ms;
    },
    /** It is gone, as after a crash: nothing listens, and connections break. `comeBack` is a restart that remembers all. */
    goAway: stop,
    async comeBack() {
      tls.listen(Number(new URL(issuer).port), '127.0.0.1');
      await once(tls, 'listening');
    },
    close: stop,
  };
}

async function provider(issuer, gatewayKey, exchanges) {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true });
  const key = { ...(await exportJWK(privateKey)), alg: 'ES256', use: 'sig', kid: randomBytes(8).toString('hex') };
  const oidc = new Provider(issuer, {
    jwks: { keys: [key] },
    cookies: { keys: [randomBytes(32).toString('hex')] },
    clientDefaults: {
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      token_endpoint_auth_method: 'client_secret_post',
      id_token_signed_response_alg: 'ES256',
      introspection_signed_response_alg: 'ES256',
    },
    clients: [...Object.values(CLIENTS), ...Object.values(GATEWAYS).map((client) => asGateway(client, gatewayKey))],
    // Pages of any origin may get tokens here: what they can do with them is the gateway's to say.
    clientBasedCORS: () => true,
    scopes: SCOPES.split(' '),
    enabledJWA: { introspectionEncryptionAlgValues: ['ECDH-ES'], dPoPSigningAlgValues: ['ES256', 'PS256', 'EdDSA', 'Ed25519'] },
    ttl: { ClientCredentials: 300 },
    formats: { customizers: { jwt: customize } },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      jwtIntrospection: { enabled: true },
      encryption: { enabled: true },
      revocation: { enabled: true },
      // Its own nonces are demanded at the token endpoint, so every caller below has to keep two servers' nonces apart.
      dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true },
      mTLS: {
        enabled: true,
        certificateBoundAccessTokens: true,
        getCertificate: certificateOf,
      },
      resourceIndicators: {
        enabled: true,
        // Without a resource an oidc-provider token is opaque. With one it is a JWT: typ at+jwt, sub (the client itself
        // here, RFC 9068 §2.2), client_id, iat, jti, and aud as the resource was spelt.
        getResourceServerInfo: (_ctx, resource) => ({
          audience: resource.replace(OPAQUE, ''),
          scope: SCOPES,
          ...(OPAQUE.test(resource)
            ? { accessTokenFormat: 'opaque' }
            : { accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } }),
        }),
      },
    },
  });
  exchangeTokens(oidc, key, exchanges);
  // The provider answers 500 and tells only this event why; a test that fails for it should say so.
  oidc.on('server_error', (_ctx, error) => console.error('authorization server:', error));
  return oidc.callback();
}

/** A client without a secret has the key: it signs assertions, and is encrypted to. */
function asGateway(client, key) {
  const registered = { grant_types: [TOKEN_EXCHANGE], ...client };
  if (client.client_secret) return registered;
  const keys = [{ ...key, use: 'sig', kid: 'sig-1' }, { ...key, use: 'enc', kid: 'enc-1' }];
  return { ...registered, token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'ES256', jwks: { keys } };
}

const certificateOf = (ctx) => ctx.socket.getPeerX509Certificate();

/** oidc-provider binds a token to one thing only. An operator who wants both adds the certificate in this hook, as we do for one client. */
function customize(ctx, token, { payload }) {
  saysWhoseItIs(ctx, payload);
  if (token.clientId === CLIENTS.both.client_id) payload.cnf['x5t#S256'] = hash('sha256', certificateOf(ctx).raw, 'base64url');
}
