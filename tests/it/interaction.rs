//! `x-fapi-interaction-id` on routes that have it: one UUID in the answer, at the upstream and in the log, whoever made it (FAPI 1.0 Baseline §6.2.1).

use crate::house::{House, Plan};
use crate::scene::Scene;

const ROUTES: &str = "  - { name: bank, match: { path_prefix: /bank }, upstream: echo, forward: { interaction_id: true } }
  - { name: open, match: { path_prefix: /open }, upstream: echo, public: true, forward: { interaction_id: true } }
";
const NAME: &str = "x-fapi-interaction-id";
const CALLERS: &str = "C770AEF3-6784-41f7-8e0e-ff5f97bddb3a";

async fn house() -> House {
    let answers = &[(NAME, "the upstream's"), (NAME, "twice")];
    House::built(Plan { routes: ROUTES, answers, ..Plan::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_uuid_comes_back_and_another_is_made_where_there_is_none() {
    let house = house().await;
    for path in ["/bank", "/open"] {
        for (sent, kept) in [
            (&[CALLERS][..], true),
            (&[], false),
            (&["not-a-uuid"], false),
            (&[CALLERS, CALLERS], false),
            (&[""], false),
        ] {
            let mut scene = Scene::at(&house, path);
            scene.headers.extend(sent.iter().map(|id| (NAME.to_owned(), (*id).to_owned())));
            // What some servers take for the same name.
            scene.headers.push(("x_fapi_interaction_id".into(), "forged".into()));
            let answer = scene.send(&house).await;
            assert_eq!(answer.status, 200);
            let [id] = answer.all(NAME)[..] else { panic!("one: {answer:?}") };
            assert_eq!(id == CALLERS, kept, "{path} {sent:?}: {id}");
            assert_eq!((id.len(), id.matches('-').count()), (36, 4), "{id}");
            let seen = house.seen().remove(0).headers;
            assert_eq!(seen.get_all(NAME).iter().collect::<Vec<_>>(), [id]);
            assert!(!seen.contains_key("x_fapi_interaction_id"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_it_too_and_other_routes_have_no_part_in_it() {
    let house = house().await;
    let mut refused = Scene::at(&house, "/bank");
    refused.headers.push((NAME.into(), CALLERS.into()));
    refused.credentials = Some(Vec::new());
    let answer = refused.send(&house).await;
    assert_eq!((answer.status, answer.one(NAME)), (401, CALLERS));
    let mut nameless = Scene::at(&house, "/bank");
    nameless.proof_claims["htm"] = "PUT".into();
    let answer = nameless.send(&house).await;
    assert_eq!((answer.status, answer.one(NAME).len()), (401, 36));
    let mut other = Scene::right(&house);
    other.headers.push((NAME.into(), "anything".into()));
    let answer = other.send(&house).await;
    assert_eq!(answer.all(NAME), ["the upstream's", "twice"]);
    assert_eq!(house.seen().remove(0).headers[NAME], "anything");
}
