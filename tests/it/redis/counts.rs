//! What limits count in the store is in nobody's way.

use std::time::Duration;

use holdfast::replay::redis::Redis;
use holdfast::verify::digest::Digest;
use tokio::task::JoinSet;

use super::server::{Server, login, store};
use super::{claim, until_usable};

/// An ACL user as it was before limits could be counted.
const WITHOUT_INCR: &str = "reset on >secret ~hf:* +ping +info +time +get +set +watch +unwatch +multi +exec";

fn allow(server: &Server, rules: &str) {
    let command: Vec<_> = ["ACL", "SETUSER", "holdfast"].into_iter().chain(rules.split(' ')).collect();
    server.order(&command);
}

async fn count(redis: &Redis) -> Option<u64> {
    redis.count(Digest::of(b"a caller"), Duration::from_secs(60)).await
}

/// A right that only counts need refuses no proofs, and once it is there counts begin.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_count_may_claim() {
    let server = Server::start(&[]);
    allow(&server, WITHOUT_INCR);
    let mut settings = server.settings();
    // One, so that counts and claims go out together.
    settings.connections = 1;
    settings.login = login(Some("holdfast"), "secret");
    let redis = store(settings);
    until_usable(&redis).await;
    let mut all = JoinSet::new();
    for number in 0..200 {
        let redis = redis.clone();
        all.spawn(async move { (count(&redis).await, claim(&redis, number).await) });
    }
    for answers in all.join_all().await {
        assert_eq!(answers, (None, Ok(())));
    }
    assert_eq!(redis.state().counts.troubles.iter().sum::<u64>(), 0, "no connection was given up");
    allow(&server, "+incr");
    assert_eq!([count(&redis).await, count(&redis).await], [Some(1), Some(2)]);
}

/// Nor does a key that holds something else.
#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_is_none_is_unknown() {
    let server = Server::start(&[]);
    let redis = store(server.settings());
    until_usable(&redis).await;
    assert_eq!(count(&redis).await, Some(1));
    let script = "for _, k in ipairs(redis.call('KEYS', 'hf:*')) do if #k == 19 then redis.call('SET', k, ARGV[1]) end end return 'done'";
    for strange in ["many", "-5", "9223372036854775807"] {
        assert_eq!(server.say(&["EVAL", script, "0", strange]), "\"done\"");
        assert_eq!(count(&redis).await, None, "{strange}");
    }
    assert_eq!(claim(&redis, 0).await, Ok(()));
    assert_eq!(redis.state().counts.troubles.iter().sum::<u64>(), 0);
}
