// What makes oidc-provider exchange tokens (RFC 8693), which it leaves to its operator: a grant of our own, in its terms.
import { errors } from 'oidc-provider';
import { createLocalJWKSet, jwtVerify } from 'jose';

export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
/** The upstreams that tokens are made for. */
export const LEDGER = 'https://ledger.internal/';

/** Registers the grant. `key` verifies what the provider has signed itself; `exchanges` gets every question. */
export function exchangeTokens(provider, key, exchanges) {
  const { d, ...publicKey } = key;
  const keys = createLocalJWKSet({ keys: [publicKey] });
  const parameters = ['subject_token', 'subject_token_type', 'requested_token_type', 'resource', 'audience', 'scope'];
  const handler = async (ctx) => {
    const { client, params } = ctx.oidc;
    exchanges.push({ client: client.clientId, ...params });
    if (params.subject_token_type !== ACCESS_TOKEN || params.requested_token_type !== ACCESS_TOKEN) throw new errors.InvalidRequest('token type');
    if (params.resource !== LEDGER) throw new errors.InvalidTarget();
    const subject = await subjectOf(provider, keys, params.subject_token);
    if (!subject) throw new errors.InvalidGrant('subject_token');
    ctx.oidc.exchangedFor = subject;
    const token = new provider.ClientCredentials({ client, scope: params.scope });
    token.resourceServer = new provider.ResourceServer(LEDGER, { scope: params.scope, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } });
    const issued = await token.save();
    ctx.body = { access_token: issued, issued_token_type: ACCESS_TOKEN, token_type: token.tokenType, expires_in: token.expiration, scope: token.scope };
  };
  provider.registerGrantType(TOKEN_EXCHANGE, handler, parameters);
}

/** Whose token it is: a JWT of the provider's, or an opaque one that it has not revoked. */
async function subjectOf(provider, keys, token) {
  const opaque = await provider.ClientCredentials.find(token);
  if (opaque) return opaque.clientId;
  const verified = await jwtVerify(token, keys, { issuer: provider.issuer, typ: 'at+jwt' }).catch(() => null);
  return verified?.payload.sub;
}

/** The new token is the caller's; the client that asked for it acts for it (RFC 8693 §4.1). */
export function saysWhoseItIs({ oidc }, payload) {
  if (!oidc?.exchangedFor) return;
  payload.act = { sub: payload.client_id };
  payload.sub = oidc.exchangedFor;
}
