//! Who asks an issuer about a token, how often, and what is remembered. What an answer means is `verify::token`'s; what callers hear is in `tests/it`.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::server::{Answer, KeyServer};
use super::*;
use crate::config::{AnswerForm, ClientAuthentication, ClientSecret, Introspection, Issuer, OauthClient};
use crate::verify::jwks::signing::{ISSUER, key_set};

const JWKS: &str = "/jwks";
const ASK: &str = "/introspect";

/// A client at that path of `server`.
pub(super) fn client(server: &KeyServer, path: &str) -> OauthClient {
    OauthClient {
        url: Some(server.url(path).parse().unwrap()),
        client_id: "gateway".into(),
        authentication: ClientAuthentication::Basic(ClientSecret::new("secret".into())),
        timeout: Duration::from_secs(5),
        calls: 64,
        rate: 10_000,
    }
}

fn settings(server: &KeyServer) -> Introspection {
    Introspection { client: client(server, ASK), answer: AnswerForm::Json, cache: 30, cache_inactive: 5 }
}

fn asking(server: &KeyServer, name: &str, settings: Introspection) -> Issuer {
    Issuer { introspection: Some(settings), ..issuer(name, server.key_source(JWKS), Some(server.roots())) }
}

fn active() -> Value {
    let mut answer = claims();
    answer["active"] = json!(true);
    answer
}

/// A server that calls every token active, and a gateway's tokens that ask it.
async fn usual() -> (KeyServer, Running) {
    let server = KeyServer::https().await;
    server.publish(JWKS, key_set(&[key("k").public()]));
    server.set(ASK, Answer::Json(active().to_string()));
    let running = Running::new(&[asking(&server, ISSUER, settings(&server))]);
    (server, running)
}

fn questions(server: &KeyServer) -> usize {
    server.asked().iter().filter(|path| *path == ASK).count()
}

/// R-I-06, and the promise of the issue: 1,000 requests at once with a token that nobody knows are one question.
#[tokio::test]
async fn a_thousand_at_once_are_one_question() {
    let (server, running) = usual().await;
    let permits = Arc::new(Semaphore::new(0));
    server.set(ASK, Answer::Held(Arc::clone(&permits), active().to_string()));
    let callers: Vec<_> = (0..1000)
        .map(|_| {
            let tokens = Arc::clone(&running.tokens);
            tokio::spawn(async move { tokens.verify(raw(&bearer("opaque")), None, NOW).await.is_ok() })
        })
        .collect();
    while questions(&server) == 0 {
        tokio::task::yield_now().await;
    }
    // More than one is to be had, for whoever asks a second time.
    permits.add_permits(1000);
    for caller in callers {
        assert!(caller.await.unwrap());
    }
    assert_eq!(questions(&server), 1);
    assert!(running.verify("opaque").await.is_ok());
    assert_eq!((questions(&server), running.tokens.introspections()), (1, (1, 0, 0)));
}

/// Whoever asked first may go away: the others get their answer, and nobody asks again.
#[tokio::test]
async fn the_first_may_leave() {
    let (server, running) = usual().await;
    let permits = Arc::new(Semaphore::new(0));
    server.set(ASK, Answer::Held(Arc::clone(&permits), active().to_string()));
    let ask = || {
        let tokens = Arc::clone(&running.tokens);
        tokio::spawn(async move { tokens.verify(raw(&bearer("opaque")), None, NOW).await.is_ok() })
    };
    let first = ask();
    while questions(&server) == 0 {
        tokio::task::yield_now().await;
    }
    let second = ask();
    tokio::task::yield_now().await;
    first.abort();
    permits.add_permits(10);
    assert!(second.await.unwrap());
    assert_eq!(questions(&server), 1);
}

/// Whoever waits for another's question is judged by his own time.
#[tokio::test]
async fn an_answer_is_judged_at_the_time_of_each() {
    let (server, running) = usual().await;
    let permits = Arc::new(Semaphore::new(0));
    server.set(ASK, Answer::Held(Arc::clone(&permits), active().to_string()));
    let end = UnixTime::from_seconds(active()["exp"].as_i64().unwrap());
    let ask = |now| {
        let tokens = Arc::clone(&running.tokens);
        tokio::spawn(async move { tokens.verify(raw(&bearer("opaque")), None, now).await.map(drop) })
    };
    let first = ask(NOW);
    while questions(&server) == 0 {
        tokio::task::yield_now().await;
    }
    let late = ask(end.plus(5));
    tokio::task::yield_now().await;
    permits.add_permits(1);
    assert_eq!(first.await.unwrap(), Ok(()));
    assert_eq!(late.await.unwrap(), Err(Rejection::TokenExpired));
    assert_eq!(questions(&server), 1);
}

/// What a reload changes in how an issuer is asked is asked anew: nothing that was said to another client, in another form, or for longer is left.
#[tokio::test]
async fn settings_that_change_leave_nothing_behind() {
    let server = KeyServer::https().await;
    let usual = || settings(&server);
    let running = Running::new(&[asking(&server, ISSUER, usual())]);
    let keeps = |settings| running.tokens.issuers[0].keys.are_of(&asking(&server, ISSUER, settings));
    assert!(keeps(usual()));
    let secret = |text: &str| ClientSecret::new(text.into());
    let of = |client| Introspection { client, ..usual() };
    for changed in [
        of(OauthClient { url: None, ..client(&server, ASK) }),
        of(OauthClient { client_id: "other".into(), ..client(&server, ASK) }),
        of(OauthClient {
            authentication: ClientAuthentication::Basic(secret("another")),
            ..client(&server, ASK)
        }),
        of(OauthClient {
            authentication: ClientAuthentication::Post(secret("secret")),
            ..client(&server, ASK)
        }),
        Introspection { answer: AnswerForm::Jwt, ..usual() },
        Introspection { cache: 29, ..usual() },
        Introspection { cache_inactive: 4, ..usual() },
        of(OauthClient { timeout: Duration::from_secs(4), ..client(&server, ASK) }),
        of(OauthClient { calls: 63, ..client(&server, ASK) }),
        of(OauthClient { rate: 9_999, ..client(&server, ASK) }),
    ] {
        assert!(!keeps(changed.clone()), "{changed:?}");
    }
    let rules = |change: fn(&mut TokenRules)| {
        let mut issuer = asking(&server, ISSUER, usual());
        change(&mut issuer.rules);
        running.tokens.issuers[0].keys.are_of(&issuer)
    };
    assert!(!rules(|rules| rules.audiences.push("https://more.example.com".into())));
    assert!(!rules(|rules| rules.leeway += 1));
    let mut unasked = asking(&server, ISSUER, usual());
    unasked.introspection = None;
    assert!(!running.tokens.issuers[0].keys.are_of(&unasked));
}

/// T-INT-10, T-INT-11, R-I-04: an answer holds for `cache`, and never past `exp`.
#[tokio::test]
async fn an_answer_holds_for_a_while() {
    let (server, running) = usual().await;
    assert!(running.verify("opaque").await.is_ok());
    server.set(ASK, Answer::Json(json!({"active": false}).to_string()));
    assert!(running.verify_at("opaque", NOW.plus(29)).await.is_ok());
    assert_eq!(questions(&server), 1);
    let refused = running.verify_at("opaque", NOW.plus(30)).await.map(drop);
    assert_eq!(refused, Err(Rejection::TokenInactive));

    let mut short = active();
    short["exp"] = (NOW.seconds() + 10).into();
    server.set(ASK, Answer::Json(short.to_string()));
    assert!(running.verify("short").await.is_ok());
    let before = questions(&server);
    assert!(running.verify_at("short", NOW.plus(9)).await.is_ok());
    assert_eq!(questions(&server), before);
    // Within the leeway the issuer is asked again, and after that it is not believed any more.
    assert!(running.verify_at("short", NOW.plus(10)).await.is_ok());
    assert!(questions(&server) > before);
    assert_eq!(running.verify_at("short", NOW.plus(15)).await.map(drop), Err(Rejection::TokenExpired));
}

/// R-I-06: invented tokens are remembered apart, for five seconds, and push nothing out.
#[tokio::test]
async fn refusals_are_remembered_briefly_and_apart() {
    let (server, running) = usual().await;
    assert!(running.verify("good").await.is_ok());
    server.set(ASK, Answer::Json(json!({"active": false}).to_string()));
    for _ in 0..3 {
        assert_eq!(running.rejection("bad").await, Rejection::TokenInactive);
    }
    assert_eq!(questions(&server), 2);
    assert!(running.verify_at("bad", NOW.plus(5)).await.is_err());
    assert_eq!(questions(&server), 3);
    for number in 0..9000 {
        assert_eq!(running.rejection(&format!("bad-{number}")).await, Rejection::TokenInactive);
    }
    let before = questions(&server);
    assert!(running.verify("good").await.is_ok());
    assert_eq!((questions(&server), running.tokens.cached()), (before, 1));
}

/// T-INT-14: a flood of invented tokens does not reach the issuer, and what is known goes on.
#[tokio::test]
async fn so_many_questions_and_no_more() {
    let server = KeyServer::https().await;
    server.publish(JWKS, key_set(&[key("k").public()]));
    server.set(ASK, Answer::Json(active().to_string()));
    let few = Introspection { client: OauthClient { rate: 5, ..client(&server, ASK) }, ..settings(&server) };
    let running = Running::new(&[asking(&server, ISSUER, few)]);
    assert!(running.verify("good").await.is_ok());
    server.set(ASK, Answer::Json(json!({"active": false}).to_string()));
    let mut busy = 0;
    for number in 0..100 {
        busy +=
            usize::from(running.rejection(&format!("bad-{number}")).await == Rejection::IntrospectionBusy);
    }
    assert!(busy > 80, "{busy}");
    assert_eq!(questions(&server), 101 - busy);
    assert!(running.verify("good").await.is_ok());

    let one = Introspection { client: OauthClient { calls: 1, ..client(&server, ASK) }, ..settings(&server) };
    let running = Running::new(&[asking(&server, ISSUER, one)]);
    let permits = Arc::new(Semaphore::new(0));
    server.set(ASK, Answer::Held(Arc::clone(&permits), active().to_string()));
    let before = questions(&server);
    let tokens = Arc::clone(&running.tokens);
    let slow = tokio::spawn(async move { tokens.verify(raw(&bearer("slow")), None, NOW).await.is_ok() });
    while questions(&server) == before {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.rejection("other").await, Rejection::IntrospectionBusy);
    permits.add_permits(1);
    assert!(slow.await.unwrap());
}

/// A server that fails is left alone, and asked again after a moment.
#[tokio::test]
async fn a_server_that_fails_is_left_alone() {
    let (server, running) = usual().await;
    server.set(ASK, Answer::Status(500, String::new()));
    for number in 0..5 {
        assert_eq!(running.rejection(&format!("t{number}")).await, Rejection::IntrospectionRefused);
    }
    server.set(ASK, Answer::Json(active().to_string()));
    assert_eq!(running.rejection("t1").await, Rejection::IntrospectionPaused);
    assert_eq!(questions(&server), 5);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    assert!(running.verify("t1").await.is_ok());
    assert!(running.verify("t2").await.is_ok());
    // What may be for the token is no sign of illness.
    server.set(ASK, Answer::Status(400, String::new()));
    for number in 0..20 {
        assert_eq!(running.rejection(&format!("odd-{number}")).await, Rejection::IntrospectionRefused);
    }
    assert_eq!(running.tokens.introspections(), (27, 25, 1));
}

/// The endpoint of the metadata; a later look that fails moves nothing.
#[tokio::test]
async fn where_the_metadata_says() {
    const METADATA: &str = "/.well-known/oauth-authorization-server";
    let server = KeyServer::https().await;
    let name = server.url("");
    let metadata = |issuer: &str, url: String| {
        json!({"issuer": issuer, "jwks_uri": server.url(JWKS), "introspection_endpoint": url}).to_string()
    };
    server.publish(JWKS, key_set(&[key("k").public()]));
    let mut answer = active();
    answer["iss"] = name.clone().into();
    server.set(ASK, Answer::Json(answer.to_string()));
    for path in [METADATA, "/.well-known/openid-configuration"] {
        server.publish(path, metadata("https://evil.example", server.url("/evil")));
    }
    let found = OauthClient { url: None, rate: 1000, ..client(&server, ASK) };
    let found = Introspection { client: found, ..settings(&server) };
    let refreshing = Issuer { refresh: Duration::ZERO, ..asking(&server, &name, found) };
    let running = Running::new(&[refreshing]);
    assert_eq!(running.rejection("a").await, Rejection::IntrospectionMalformed);
    server.publish(METADATA, metadata(&name, server.url(ASK)));
    assert!(running.verify("a").await.is_ok());
    for broken in
        [metadata("https://evil.example", server.url("/evil")), metadata(&name, "http://127.0.0.1:1/".into())]
    {
        server.publish(METADATA, broken);
        assert!(running.verify(&format!("b{}", questions(&server))).await.is_ok());
    }
    assert!(!server.asked().contains(&"/evil".to_owned()));
    server.publish(METADATA, metadata(&name, server.url("/moved")));
    server.set("/moved", Answer::Json(answer.to_string()));
    assert!(running.verify("c").await.is_ok());
    assert!(server.asked().contains(&"/moved".to_owned()));
}

/// A connection is kept for the next question, for a moment; and however many there are at once, few are kept.
#[tokio::test]
async fn connections_are_kept_for_a_moment() {
    let (server, running) = usual().await;
    running.ended(1).await;
    let connections = server.connections();
    let before = connections.borrow().ever;
    for token in ["a", "b", "c"] {
        assert!(running.verify(token).await.is_ok());
    }
    assert_eq!(connections.borrow().ever, before + 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(4)).await;
    tokio::time::resume();
    assert!(running.verify("d").await.is_ok());
    assert_eq!(connections.borrow().ever, before + 2);

    let permits = Arc::new(Semaphore::new(0));
    server.set(ASK, Answer::Held(Arc::clone(&permits), active().to_string()));
    let asked = questions(&server);
    let callers: Vec<_> = (0..40)
        .map(|number| {
            let tokens = Arc::clone(&running.tokens);
            tokio::spawn(async move {
                tokens.verify(raw(&bearer(&format!("many-{number}"))), None, NOW).await.is_ok()
            })
        })
        .collect();
    while questions(&server) < asked + 40 {
        tokio::task::yield_now().await;
    }
    permits.add_permits(40);
    for caller in callers {
        assert!(caller.await.unwrap());
    }
    let few = tokio::time::timeout(Duration::from_secs(10), async {
        server.connections().wait_for(|count| count.open <= 16).await.map(|_| ())
    });
    assert!(few.await.is_ok(), "{:?}", *connections.borrow());
}

/// A connection that was kept is one to the address that was asked, and no other one is asked over it.
#[tokio::test]
async fn an_endpoint_that_moves_to_another_server() {
    let (first, second) = (KeyServer::http().await, KeyServer::http().await);
    let name = first.url("");
    first.publish(JWKS, key_set(&[key("k").public()]));
    let mut answer = active();
    answer["iss"] = name.clone().into();
    let is_at = |server: &KeyServer| {
        let metadata =
            json!({"issuer": name, "jwks_uri": first.url(JWKS), "introspection_endpoint": server.url(ASK)});
        first.publish("/.well-known/oauth-authorization-server", metadata.to_string());
        server.set(ASK, Answer::Json(answer.to_string()));
    };
    is_at(&first);
    let found = OauthClient { url: None, ..client(&first, ASK) };
    let found = Introspection { client: found, ..settings(&first) };
    let running = Running::new(&[Issuer { refresh: Duration::ZERO, ..asking(&first, &name, found) }]);
    assert!(running.verify("a").await.is_ok());
    is_at(&second);
    assert!(running.verify("b").await.is_ok());
    assert_eq!((questions(&first), questions(&second)), (1, 1));
}

/// A look into the metadata that fails is never for the token, whatever its status, so it is left alone like an endpoint; and of what is known it moves
/// nothing, however it fails.
#[tokio::test]
async fn metadata_that_cannot_be_had() {
    let server = KeyServer::https().await;
    let name = server.url("");
    server.publish(JWKS, key_set(&[key("k").public()]));
    let mut answer = active();
    answer["iss"] = name.clone().into();
    server.set(ASK, Answer::Json(answer.to_string()));
    let everywhere = |answer: Answer| {
        for path in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
            server.set(path, answer.clone());
        }
    };
    let timeout = Duration::from_millis(600);
    let found = OauthClient { url: None, timeout, ..client(&server, ASK) };
    let found = Introspection { client: found, ..settings(&server) };
    let refreshing = Issuer { refresh: Duration::ZERO, ..asking(&server, &name, found) };
    everywhere(Answer::Status(400, String::new()));
    let running = Running::new(std::slice::from_ref(&refreshing));
    for number in 0..5 {
        assert_eq!(running.rejection(&format!("t{number}")).await, Rejection::IntrospectionRefused);
    }
    let before = server.asked().len();
    assert_eq!(running.rejection("t5").await, Rejection::IntrospectionPaused);
    assert_eq!(server.asked().len(), before);

    let metadata =
        json!({"issuer": name, "jwks_uri": server.url(JWKS), "introspection_endpoint": server.url(ASK)});
    let running = Running::new(&[refreshing]);
    everywhere(Answer::Json(metadata.to_string()));
    assert!(running.verify("first").await.is_ok());
    for (what, answer) in [
        ("a loop", Answer::Redirect(server.url("/.well-known/openid-configuration"))),
        ("50 MB", Answer::Huge),
        ("500", Answer::Status(500, String::new())),
        ("half", Answer::Broken),
        ("drop by drop", Answer::Dripping),
        ("nothing", Answer::Silence),
    ] {
        everywhere(answer);
        assert!(running.verify(&what.replace(' ', "-")).await.is_ok(), "{what}");
    }
    assert_eq!(running.tokens.introspections(), (7, 0, 0));
}

/// Which issuer is asked is settled by the route or by order, and no other one hears of the token. What one has said is not the other's word.
#[tokio::test]
async fn one_issuer_is_asked() {
    let (first, second) = (KeyServer::https().await, KeyServer::https().await);
    let other = "https://other.example.com";
    for (server, name) in [(&first, ISSUER), (&second, other)] {
        server.publish(JWKS, key_set(&[key("k").public()]));
        let mut answer = active();
        (answer["iss"], answer["sub"]) = (name.into(), name.into());
        server.set(ASK, Answer::Json(answer.to_string()));
    }
    let silent = issuer("https://jwts.example.com", first.key_source(JWKS), Some(first.roots()));
    let running = Running::new(&[
        silent,
        asking(&first, ISSUER, settings(&first)),
        asking(&second, other, settings(&second)),
    ]);
    let ask = async |of| {
        let headers = bearer("opaque");
        let verified = running.tokens.verify(raw(&headers), of, NOW).await;
        verified.map(|token| token.subject().unwrap_or_default().to_owned())
    };
    assert_eq!(ask(None).await.as_deref(), Ok(ISSUER));
    assert_eq!((questions(&first), questions(&second)), (1, 0));
    assert_eq!(ask(Some(2)).await.as_deref(), Ok(other));
    assert_eq!(ask(Some(1)).await.as_deref(), Ok(ISSUER));
    assert_eq!((questions(&first), questions(&second)), (1, 1));
    assert_eq!(ask(Some(0)).await, Err(Rejection::TokenMalformed));

    // The same for JWTs: on a route of one issuer, the others' are none, in the cache neither.
    let key = key("j");
    first.publish(JWKS, key_set(&[key.public()]));
    let running =
        Running::new(&[asking(&first, ISSUER, settings(&first)), asking(&second, other, settings(&second))]);
    let token = key.token(&claims());
    let headers = bearer(&token);
    let of = async |of| running.tokens.verify(raw(&headers), of, NOW).await.map(drop);
    for _ in 0..2 {
        assert_eq!(of(None).await, Ok(()));
        assert_eq!(of(Some(0)).await, Ok(()));
        assert_eq!(of(Some(1)).await, Err(Rejection::TokenIssuer));
    }
    assert_eq!((questions(&first), questions(&second)), (1, 1), "a JWT is never asked about");
    // Nor where any route has cached it, and the one that is asked for such routes is the one of this route.
    second.publish(JWKS, key_set(&[key.public()]));
    let running =
        Running::new(&[asking(&first, ISSUER, settings(&first)), asking(&second, other, settings(&second))]);
    let token = key.token(&claims_of(other));
    let headers = bearer(&token);
    for _ in 0..2 {
        assert_eq!(running.tokens.verify(raw(&headers), None, NOW).await.map(drop), Ok(()));
        let refused = running.tokens.verify(raw(&headers), Some(0), NOW).await.map(drop);
        assert_eq!(refused, Err(Rejection::TokenIssuer));
    }
}
