//! How a table of cases is played: each row changes one thing in a scene that is right and says what is heard then.
//!
//! Every answer is held to what all answers have in common, so a row cannot forget it: a refusal names its reason, is not stored by
//! anyone, carries the challenges of the route, and leaves nothing at the upstream; a request that passes arrives there exactly once.

use holdfast::verify::rejection::{Code, Rejection};

use crate::house::House;
use crate::scene::Scene;
use crate::wire::Answer;

/// What is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The upstream's answer.
    Passed,
    /// This refusal.
    Refused(Rejection),
    /// This status, before it was a request.
    Unread(u16),
}

/// The cases and requirements a row is for, what is changed, what is heard then, and how to change it.
pub type Row = (&'static str, &'static str, Heard, fn(&mut Scene, &House));

/// Plays all rows, each on a connection of its own, and fails with a list of those that went otherwise.
pub async fn play(house: &House, rows: &[Row]) {
    let mut wrong = Vec::new();
    for (ids, what, expected, change) in rows {
        let mut scene = Scene::right(house);
        change(&mut scene, house);
        let answer = scene.send(house).await;
        if let Err(found) = judge(house, &scene, &answer, *expected) {
            wrong.push(format!("{ids} ({what}): {found}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

/// Sends one scene and holds the answer to what is expected.
pub async fn hear(house: &House, scene: &Scene, what: &str, expected: Heard) -> Answer {
    let answer = scene.send(house).await;
    heard(house, scene, &answer, what, expected);
    answer
}

/// Holds an answer to what is expected.
pub fn heard(house: &House, scene: &Scene, answer: &Answer, what: &str, expected: Heard) {
    if let Err(found) = judge(house, scene, answer, expected) {
        panic!("{what}: {found}");
    }
}

fn judge(house: &House, scene: &Scene, answer: &Answer, expected: Heard) -> Result<(), String> {
    let arrived = house.seen().len();
    let found = |what: &str| Err(format!("{what}, expected {expected:?}, {arrived} arrived: {answer:?}"));
    if arrived != usize::from(expected == Heard::Passed) {
        return found("something else arrived at the upstream");
    }
    match expected {
        Heard::Passed if answer.status == 200 => Ok(()),
        Heard::Unread(status) if answer.status == status => Ok(()),
        // The answer to HEAD has no body to name the reason.
        Heard::Refused(rejection)
            if answer.status == rejection.status()
                && (answer.reason() == rejection.label() || scene.method == "HEAD") =>
        {
            refusal(answer, rejection)
        }
        Heard::Passed | Heard::Refused(_) | Heard::Unread(_) => found("another answer"),
    }
}

/// What every refusal has (R-C-01 to R-C-06, R-C-08, R-J-05).
fn refusal(answer: &Answer, rejection: Rejection) -> Result<(), String> {
    let demand = |holds: bool, what: &str| if holds { Ok(()) } else { Err(format!("{what}: {answer:?}")) };
    demand(answer.all("cache-control") == ["no-store"], "one no-store")?;
    demand(answer.all("date").len() == 1 && answer.all("x-request-id").len() == 1, "Date and a request id")?;
    let challenges = answer.all("www-authenticate");
    let dpop = challenges.iter().filter(|line| line.starts_with("DPoP ")).count();
    demand(dpop <= 1, "one DPoP challenge")?;
    demand(dpop == 0 || challenges[0].starts_with("DPoP "), "DPoP first")?;
    demand(
        challenges.iter().all(|line| line.starts_with("DPoP ") == line.contains("algs=\"")),
        "algs on the DPoP challenge",
    )?;
    demand(answer.all("dpop-nonce").len() <= 1, "at most one nonce")?;
    match rejection.code() {
        Code::None => demand(challenges.is_empty(), "no challenge"),
        Code::Bare => demand(
            !challenges.is_empty() && challenges.iter().all(|line| !line.contains("error")),
            "challenges without error",
        ),
        Code::InvalidRequest
        | Code::InvalidToken
        | Code::InvalidDpopProof
        | Code::UseDpopNonce
        | Code::InsufficientScope
        | Code::InsufficientAuthorizationDetails
        | Code::InsufficientUserAuthentication => {
            let error = format!("error=\"{}\"", rejection.code().error().unwrap_or_default());
            let description = format!("error_description=\"{}: ", rejection.label());
            demand(
                challenges.iter().any(|line| line.contains(&error) && line.contains(&description)),
                "a challenge with the error",
            )
        }
    }
}
