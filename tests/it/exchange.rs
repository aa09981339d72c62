//! The caller's token exchanged at its issuer for one of the upstream's (RFC 8693): what is asked, what is taken, and how often.

use std::collections::HashSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast::caller::key::random_base64url;
use holdfast::verify::rejection::Rejection::{self, *};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::asked::{AskedIssuer, Said};
use crate::house::{House, Plan};
use crate::introspection::{active, opaque};
use crate::reload;
use crate::report_only::unbound;
use crate::scene::Scene;
use crate::scripted::nobody;
use crate::table::{Heard, hear};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JSON: &str = "application/json";

const ROUTES: &str = "  - name: ledger
    match: { path_prefix: /ledger }
    upstream: echo
    forward:
      credentials: exchange
      exchange: { resource: 'https://ledger.internal/', audience: ledger, scopes: ['a:read', b] }
      identity: headers
  - name: same
    match: { path_prefix: /same }
    upstream: echo
    forward: { credentials: exchange, exchange: { scopes: ['a:read', b], audience: ledger, resource: 'https://ledger.internal/' } }
  - name: other
    match: { path_prefix: /other }
    upstream: echo
    require: { scopes: [accounts:read] }
    forward: { credentials: exchange, exchange: { audience: other } }
";

fn plan(issuer: &AskedIssuer, more: &str) -> Plan {
    let address = issuer.address;
    let keys = format!(
        "    keys: {{ jwks_file: issuer.jwks.json }}
    exchange:
      url: http://{address}/token
      client_id: gate:way
      client_secret: {{ file: client-secret }}
{more}"
    );
    let files = vec![("client-secret", "p:w %+\n".to_owned())];
    Plan { issuer: keys.leak(), routes: ROUTES, files, ..Plan::default() }
}

async fn usual() -> (AskedIssuer, House) {
    let issuer = AskedIssuer::start(Said::Nothing).await;
    let house = House::built(plan(&issuer, "      timeout: 2s\n      cache_refused: 0s\n")).await;
    (issuer, house)
}

type Change = fn(&mut Scene);

/// An answer with a token in it.
fn issued(token: &str) -> Value {
    json!({"access_token": token, "issued_token_type": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 300})
}

/// A scene whose token stays the same, whatever is proven with it.
fn fixed(mut scene: Scene, house: &House) -> Scene {
    let token = scene.token(house);
    scene.edit_token = Box::new(move |_| token.clone());
    scene
}

fn again(scene: &mut Scene, house: &House) {
    scene.proof_claims["jti"] = json!(random_base64url::<16>().expect("randomness"));
    scene.proof_claims["iat"] = json!(house.now());
}

/// What reached the upstream of one request, in `Authorization`.
fn arrived(house: &House) -> String {
    let seen = house.seen();
    let [one] = &seen[..] else { panic!("one request: {seen:?}") };
    assert!(!one.headers.contains_key("dpop"));
    let lines: Vec<_> = one.headers.get_all("authorization").iter().collect();
    let [line] = lines[..] else { panic!("one line: {lines:?}") };
    line.to_str().expect("text").to_owned()
}

fn field<'f>(form: &'f [(String, String)], name: &str) -> Vec<&'f str> {
    form.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_gets_a_token_of_its_own() {
    let (issuer, house) = usual().await;
    for mut scene in [Scene::right(&house), Scene::with_certificate(&house)] {
        scene.go_to("/ledger/7");
        let scene = fixed(scene, &house);
        issuer.say(Said::Json(issued("new.token~+/==")));
        let answer = scene.send(&house).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(arrived(&house), "Bearer new.token~+/==");
        let heard = issuer.heard();
        let [question] = &heard[..] else { panic!("one question: {heard:?}") };
        assert_eq!(question.path, "POST /token");
        let token = scene.token(&house);
        let expected = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("resource", "https://ledger.internal/"),
            ("audience", "ledger"),
            ("scope", "a:read b"),
            ("requested_token_type", ACCESS_TOKEN),
            ("subject_token", &token),
            ("subject_token_type", ACCESS_TOKEN),
        ];
        assert_eq!(question.form, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let basic = format!("Basic {}", STANDARD.encode("gate%3Away:p%3Aw+%25%2B"));
        assert_eq!(question.headers["authorization"], basic);
        assert_eq!(question.headers["accept"], JSON);
        // R-B-07: neither the caller's proof nor its certificate goes along.
        assert!(!question.headers.contains_key("dpop"));
    }
    // Other routes go on as ever, and nothing is asked for them.
    assert_eq!(Scene::right(&house).send(&house).await.status, 200);
    assert!(house.seen()[0].headers.get("authorization").is_none());
    assert!(issuer.heard().is_empty());
}

/// A target that is not named is not sent.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_wanted_is_not_asked_for() {
    let (issuer, house) = usual().await;
    issuer.say(Said::Json(issued("other")));
    assert_eq!(Scene::at(&house, "/other").send(&house).await.status, 200);
    let question = issuer.heard().remove(0);
    assert_eq!(field(&question.form, "audience"), ["other"]);
    assert!(field(&question.form, "resource").is_empty() && field(&question.form, "scope").is_empty());
}

/// Nobody causes a question without a good token, the proof of it, the policy's consent, and a proof that was never used.
#[tokio::test(flavor = "multi_thread")]
async fn only_who_is_let_in_is_exchanged() {
    let (issuer, house) = usual().await;
    issuer.say(Said::Json(issued("new")));
    let broken: [(&str, Rejection, Change); 5] = [
        ("expired", TokenExpired, |scene| scene.token_claims["exp"] = json!(1)),
        ("a forged token", TokenSignature, |scene| {
            scene.edit_token = Box::new(|token| format!("{}AAAA", &token[..token.len() - 4]));
        }),
        ("another method", ProofHtm, |scene| scene.proof_claims["htm"] = json!("PUT")),
        ("no proof", BearerForDpop, |scene| scene.scheme = "Bearer".into()),
        ("no scope", ScopeInsufficient, |scene| scene.token_claims["scope"] = json!("x")),
    ];
    for (what, rejection, change) in broken {
        let mut scene = Scene::at(&house, "/other");
        change(&mut scene);
        hear(&house, &scene, what, Heard::Refused(rejection)).await;
    }
    assert!(issuer.heard().is_empty());
    // With an answer that is not kept, a replay would be a second question.
    let mut short = issued("new");
    short["expires_in"] = json!(1);
    issuer.say(Said::Json(short));
    let scene = fixed(Scene::at(&house, "/other"), &house);
    let bytes = scene.bytes(&house);
    assert_eq!(scene.send_bytes(&house, &bytes).await.status, 200);
    assert_eq!(scene.send_bytes(&house, &bytes).await.reason(), ProofReplayed.label());
    assert_eq!((issuer.heard().len(), house.seen().len()), (1, 1));
}

/// No answer that can be used, and 503: the token may be good. Nothing is followed, and nothing reaches the upstream.
#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_gives_no_token() {
    let elsewhere = AskedIssuer::start(Said::Json(issued("evil"))).await;
    let (issuer, house) = usual().await;
    let text = issued("new").to_string();
    let with = |name: &str, value: Value| {
        let mut answer = issued("new");
        answer[name] = value;
        Said::Json(answer)
    };
    let word = |status, word: &str| Said::Raw(status, JSON, json!({"error": word}).to_string());
    let to = format!("http://{}/token", elsewhere.address);
    for (what, said, rejection) in [
        ("HTML", Said::Raw(200, "text/html", text.clone()), ExchangeMalformed),
        ("a form", Said::Raw(200, JSON, "access_token=new&token_type=Bearer".into()), ExchangeMalformed),
        ("nothing", Said::Raw(200, JSON, String::new()), ExchangeMalformed),
        ("a refusal that is 200", Said::Json(json!({"error": "invalid_grant"})), ExchangeMalformed),
        ("a token of JSON", with("access_token", json!({"a": 1})), ExchangeMalformed),
        ("no kind", with("issued_token_type", json!(null)), ExchangeMalformed),
        ("a lifetime of text", with("expires_in", json!("300")), ExchangeMalformed),
        ("bound to a key", with("token_type", json!("DPoP")), ExchangeUnusable),
        ("not to be used so", with("token_type", json!("N_A")), ExchangeUnusable),
        (
            "a refresh token",
            with("issued_token_type", json!("urn:ietf:params:oauth:token-type:refresh_token")),
            ExchangeUnusable,
        ),
        ("a header of its own", with("access_token", json!("a\r\nx-auth-subject: root")), ExchangeUnusable),
        ("two words", with("access_token", json!("a b")), ExchangeUnusable),
        (
            "a token that is too long",
            with("access_token", json!("x".repeat(16 * 1024 + 1))),
            ExchangeUnusable,
        ),
        ("a token of the past", with("expires_in", json!(0)), ExchangeUnusable),
        ("50 MB", Said::Raw(200, JSON, format!("{}{text}", " ".repeat(50 << 20))), ExchangeTooLarge),
        ("late", Said::Nothing, ExchangeTooSlow),
        ("201", Said::Raw(201, JSON, text.clone()), ExchangeRefused),
        ("a redirect", Said::Raw(307, JSON, to.clone()), ExchangeRefused),
        ("a redirect to itself", Said::Raw(302, JSON, "/token".into()), ExchangeRefused),
        ("401", word(401, "invalid_client"), ExchangeRefused),
        ("500", Said::Raw(500, JSON, text.clone()), ExchangeRefused),
        ("a 400 without a word", Said::Raw(400, "text/plain", "no".into()), ExchangeRefused),
        ("the gateway is refused", word(400, "invalid_client"), ExchangeRefused),
        ("an unknown word", word(400, "slow_down"), ExchangeRefused),
        ("the token is refused", word(400, "invalid_grant"), ExchangeTokenRefused),
        ("not for that target", word(400, "invalid_target"), ExchangeDenied),
        ("not with that scope", word(400, "invalid_scope"), ExchangeDenied),
        ("not at all", word(400, "invalid_request"), ExchangeDenied),
        ("not at all, as some servers say it", word(403, "access_denied"), ExchangeDenied),
        ("a 403 without a word", Said::Raw(403, "text/plain", "no".into()), ExchangeRefused),
    ] {
        issuer.say(said);
        let scene = Scene::at(&house, "/ledger");
        let answer = hear(&house, &scene, what, Heard::Refused(rejection)).await;
        // Only who is told so throws a token away.
        let challenged = !answer.all("www-authenticate").is_empty();
        assert_eq!(challenged, rejection == ExchangeTokenRefused, "{what}");
        assert_eq!(!answer.all("retry-after").is_empty(), rejection.status() == 503, "{what}");
        assert_eq!(issuer.heard().len(), 1, "{what}");
        // A good answer in between, so that the endpoint is not left alone for its failures.
        issuer.say(Said::Json(issued("new")));
        hear(&house, &Scene::at(&house, "/ledger"), "a good one", Heard::Passed).await;
        issuer.heard();
    }
    assert!(elsewhere.heard().is_empty());
    // Its own token back.
    let scene = fixed(Scene::at(&house, "/ledger"), &house);
    issuer.say(Said::Json(issued(&scene.token(&house))));
    hear(&house, &scene, "the caller's own", Heard::Refused(ExchangeUnusable)).await;
}

/// The promise: 1,000 requests at once with one token are one question.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_at_once_are_one_question() {
    let permits = Arc::new(Semaphore::new(0));
    let issuer = AskedIssuer::start(Said::Held(Arc::clone(&permits), issued("new"))).await;
    let house =
        House::built(Plan { timeouts: ", connections: 2000", ..plan(&issuer, "      timeout: 30s\n") }).await;
    let mut scene = Scene::with_certificate(&house);
    scene.go_to("/ledger");
    let scene = fixed(scene, &house);
    let mut callers = Vec::new();
    for _ in 0..20 {
        let client = Arc::new(house.connect_h2(Some(0)).await);
        for _ in 0..50 {
            let (client, request) = (Arc::clone(&client), scene.request_with(&scene.credentials(&house)));
            callers
                .push(tokio::spawn(async move { client.exchange(request).await.expect("an answer").status }));
        }
    }
    while issuer.heard_so_far() == 0 {
        tokio::task::yield_now().await;
    }
    // More than one is to be had, for whoever asks a second time.
    permits.add_permits(1000);
    for caller in callers {
        assert_eq!(caller.await.expect("no panic"), 200);
    }
    assert_eq!((issuer.heard().len(), house.seen().len()), (1, 1000));
}

/// By token, issuer and what it is for; and no longer than any of the three allow.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_is_kept_for_a_while() {
    let (issuer, house) = usual().await;
    let scene = |path: &str, lifetime: i64| {
        let mut scene = Scene::at(&house, path);
        scene.token_claims["exp"] = json!(house.now() + lifetime);
        fixed(scene, &house)
    };
    let ask = async |scene: &mut Scene, said: &str, lifetime: Value, expected: &str| {
        let mut answer = issued(said);
        answer["expires_in"] = lifetime;
        issuer.say(Said::Json(answer));
        again(scene, &house);
        let status = scene.send(&house).await.status;
        assert_eq!((status, arrived(&house)), (200, format!("Bearer {expected}")));
    };
    let long = json!(300);
    // The setting: a minute.
    let mut by_setting = scene("/ledger", 300);
    ask(&mut by_setting, "one", long.clone(), "one").await;
    ask(&mut by_setting, "two", long.clone(), "one").await;
    // Another route for the very same thing has the same token, one for another thing another; so has another caller.
    by_setting.go_to("/same");
    ask(&mut by_setting, "two", long.clone(), "one").await;
    by_setting.go_to("/other");
    ask(&mut by_setting, "other", long.clone(), "other").await;
    ask(&mut scene("/ledger", 300), "their", long.clone(), "their").await;
    by_setting.go_to("/ledger");
    house.pass_time(59);
    ask(&mut by_setting, "two", long.clone(), "one").await;
    house.pass_time(1);
    ask(&mut by_setting, "two", long.clone(), "two").await;
    // The issuer: less a margin of five seconds.
    let mut by_issuer = scene("/ledger", 300);
    ask(&mut by_issuer, "one", json!(20), "one").await;
    house.pass_time(14);
    ask(&mut by_issuer, "two", json!(20), "one").await;
    house.pass_time(1);
    ask(&mut by_issuer, "two", json!(5), "two").await;
    ask(&mut by_issuer, "three", json!(1), "three").await;
    ask(&mut by_issuer, "four", json!(1), "four").await;
    // The caller's own `exp`, leeway or not.
    let mut by_token = scene("/ledger", 10);
    ask(&mut by_token, "one", long.clone(), "one").await;
    house.pass_time(9);
    ask(&mut by_token, "two", long.clone(), "one").await;
    house.pass_time(1);
    ask(&mut by_token, "two", long.clone(), "two").await;
    ask(&mut by_token, "three", long.clone(), "three").await;
    assert_eq!(issuer.heard().len(), 11);
}

/// The issuer's refusal holds for a moment, for that token and target alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_remembered_briefly() {
    let issuer = AskedIssuer::start(Said::Nothing).await;
    let house = House::built(plan(&issuer, "")).await;
    let word = |word: &str| Said::Raw(400, JSON, json!({"error": word}).to_string());
    for (said, rejection) in
        [(word("invalid_target"), ExchangeDenied), (word("invalid_grant"), ExchangeTokenRefused)]
    {
        let mut scene = fixed(Scene::at(&house, "/ledger"), &house);
        issuer.say(said);
        for _ in 0..3 {
            again(&mut scene, &house);
            hear(&house, &scene, rejection.label(), Heard::Refused(rejection)).await;
        }
        assert_eq!(issuer.heard().len(), 1);
        issuer.say(Said::Json(issued("new")));
        scene.go_to("/other");
        again(&mut scene, &house);
        hear(&house, &scene, "for another", Heard::Passed).await;
        scene.go_to("/ledger");
        house.pass_time(5);
        again(&mut scene, &house);
        hear(&house, &scene, "later", Heard::Passed).await;
        issuer.heard();
    }
}

/// A caller whose token is not exchanged, in whatever words, has the endpoint left alone for nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn whose_token_is_refused_stops_nobody_else() {
    let (issuer, house) = usual().await;
    let word = |status, word: &str| Said::Raw(status, JSON, json!({"error": word}).to_string());
    let long = || issued(&"x".repeat(16 * 1024 + 1));
    for _ in 0..6 {
        for (said, rejection) in [
            (word(403, "access_denied"), ExchangeDenied),
            (word(400, "consent_required"), ExchangeRefused),
            (Said::Json(long()), ExchangeUnusable),
        ] {
            issuer.say(said);
            hear(&house, &Scene::at(&house, "/ledger"), "theirs", Heard::Refused(rejection)).await;
        }
    }
    issuer.say(Said::Json(issued("new")));
    hear(&house, &Scene::at(&house, "/ledger"), "another's", Heard::Passed).await;
}

/// A route that only reports what is unbound has it exchanged as well: neither scheme nor token of the caller goes on, and the upstream can tell.
#[tokio::test(flavor = "multi_thread")]
async fn an_unbound_token_is_exchanged_where_it_is_let_through() {
    let issuer = AskedIssuer::start(Said::Json(issued("new"))).await;
    let routes = ROUTES.replace("  - name: ledger\n", "  - name: ledger\n    enforcement: report-only\n");
    let house = House::built(Plan { routes: routes.leak(), ..plan(&issuer, "") }).await;
    let mut scene = Scene::at(&house, "/ledger");
    unbound(&mut scene);
    assert_eq!(scene.send(&house).await.status, 200);
    let seen = house.seen().remove(0).headers;
    assert_eq!(seen["authorization"], "Bearer new");
    assert_eq!(seen["x-auth-binding"], "none");
    // What is bound is enforced there, so nothing is asked for a stolen one.
    issuer.heard();
    let mut stolen = Scene::at(&house, "/ledger");
    stolen.scheme = "Bearer".into();
    hear(&house, &stolen, "bound", Heard::Refused(BearerForDpop)).await;
    scene.go_to("/other");
    hear(&house, &scene, "enforced", Heard::Refused(TokenUnbound)).await;
    assert!(issuer.heard().is_empty() && house.seen().is_empty());
}

/// Of its opaque tokens too: the issuer is asked what they are worth, and for another.
#[tokio::test(flavor = "multi_thread")]
async fn opaque_tokens_are_exchanged() {
    let asked = AskedIssuer::start(Said::Nothing).await;
    let issuer = AskedIssuer::start(Said::Json(issued("new"))).await;
    let introspection = asked.configuration("");
    let introspection = introspection.split_once("introspection:").expect("introspection").1;
    let more = format!("    introspection:{introspection}");
    let house = House::built(plan(&issuer, &more)).await;
    let scene = opaque(Scene::at(&house, "/ledger"));
    asked.say(Said::Json(active(&scene)));
    hear(&house, &scene, "opaque", Heard::Passed).await;
    let question = issuer.heard().remove(0);
    assert!(field(&question.form, "subject_token")[0].starts_with("op.a~que/"));
    assert_eq!(asked.heard().len(), 1);
}

/// What a token was exchanged for under other rules is asked for again, as introspected tokens are.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_forgets_what_was_given() {
    let issuer = AskedIssuer::start(Said::Json(issued("one"))).await;
    let house = House::built(Plan { reloads: true, more: reload::ASKED, ..plan(&issuer, "") }).await;
    let mut scene = fixed(Scene::at(&house, "/ledger"), &house);
    hear(&house, &scene, "before", Heard::Passed).await;
    house
        .reload_with(
            &house.text().replace("scopes: ['a:read', b] }\n      identity", "scopes: [c] }\n      identity"),
        )
        .await;
    issuer.say(Said::Json(issued("two")));
    again(&mut scene, &house);
    house.seen();
    assert_eq!(scene.send(&house).await.status, 200);
    assert_eq!(arrived(&house), "Bearer two");
    let heard = issuer.heard();
    assert_eq!(heard.iter().map(|one| field(&one.form, "scope")[0]).collect::<Vec<_>>(), ["a:read b", "c"]);
}

/// Nothing of either token is in what is said or counted.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_say_how_it_goes() {
    let (issuer, house) = usual().await;
    issuer.say(Said::Json(issued("s3cret-new")));
    hear(&house, &Scene::at(&house, "/ledger"), "a good one", Heard::Passed).await;
    issuer.say(Said::Json(json!({})));
    hear(&house, &Scene::at(&house, "/ledger"), "nothing", Heard::Refused(ExchangeMalformed)).await;
    let (_, text) = house.ask_admin("/metrics").await;
    for line in [
        "holdfast_exchanges_total 2",
        "holdfast_exchange_failures_total 1",
        "holdfast_exchanges_refused_total 0",
        "holdfast_tokens_exchanged 1",
    ] {
        assert!(text.lines().any(|own| own == line), "{line}: {text}");
    }
    assert!(!text.contains("s3cret"));
}

/// What only an issuer that exchanges tokens can make of a request, for `refusals.rs`.
pub async fn every_refusal(heard: &mut HashSet<Rejection>) {
    let issuer = AskedIssuer::start(Said::Nothing).await;
    let more = "      timeout: 200ms\n      cache_refused: 0s\n      rate: 1000\n";
    let house = House::built(plan(&issuer, more)).await;
    let word = |word: &str| Said::Raw(400, JSON, json!({"error": word}).to_string());
    let mut bound = issued("new");
    bound["token_type"] = json!("DPoP");
    for (rejection, said) in [
        (ExchangeTokenRefused, word("invalid_grant")),
        (ExchangeDenied, word("invalid_target")),
        (ExchangeUnusable, Said::Json(bound)),
        (ExchangeTooSlow, Said::Nothing),
        (ExchangeRefused, Said::Raw(503, JSON, String::new())),
        (ExchangeTooLarge, Said::Raw(200, JSON, " ".repeat(70_000))),
        (ExchangeMalformed, Said::Raw(200, JSON, "{".into())),
        (ExchangeRefused, Said::Raw(500, JSON, String::new())),
    ] {
        issuer.say(said);
        hear(&house, &Scene::at(&house, "/ledger"), rejection.label(), Heard::Refused(rejection)).await;
        heard.insert(rejection);
    }
    // The last five have failed, so the endpoint is left alone.
    hear(&house, &Scene::at(&house, "/ledger"), "left alone", Heard::Refused(ExchangePaused)).await;
    let gone = AskedIssuer { address: nobody().await, ..issuer };
    let house = House::built(plan(&gone, "      rate: 1\n")).await;
    hear(&house, &Scene::at(&house, "/ledger"), "nobody there", Heard::Refused(ExchangeUnreachable)).await;
    hear(&house, &Scene::at(&house, "/ledger"), "one in a second", Heard::Refused(ExchangeBusy)).await;
    heard.extend([ExchangePaused, ExchangeUnreachable, ExchangeBusy]);
}
