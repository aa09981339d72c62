//! A reload that takes long, since it waits for an issuer that says nothing: what it must not hold up, and what must not get lost meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

use super::{ASKED, WATCHED, house, reloads, status};
use crate::house::{House, Plan};
use crate::process::{Process, wait};

/// An issuer that is asked for its keys and says nothing until it is let go.
struct Silent {
    /// A part of a configuration: the issuer, in front of `replay`.
    settings: String,
    asked: Arc<Semaphore>,
    go: watch::Sender<bool>,
}

impl Silent {
    async fn start() -> Self {
        let (asked, go) = (Arc::new(Semaphore::new(0)), watch::Sender::new(false));
        let (heard, gone) = (Arc::clone(&asked), go.clone());
        let address = crate::scripted::upstream(move |stream| {
            let (heard, mut gone) = (Arc::clone(&heard), gone.subscribe());
            async move {
                heard.add_permits(1);
                let _ = gone.wait_for(|gone| *gone).await;
                drop(stream);
            }
        })
        .await;
        let keys = format!("{{ jwks_url: 'http://{address}/jwks' }}");
        let settings = format!("  - {{ issuer: 'http://{address}', audiences: [x], keys: {keys} }}\nreplay:");
        Self { settings, asked, go }
    }

    /// The configuration with this issuer in it.
    fn within(&self, text: &str) -> String {
        text.replacen("replay:", &self.settings, 1)
    }

    async fn is_asked(&self) {
        self.asked.acquire().await.expect("nobody closes it").forget();
    }
}

/// Files that change while a reload goes on are read by the next, though nobody was watching.
#[tokio::test(flavor = "multi_thread")]
async fn what_changes_meanwhile_is_noticed() {
    let (house, silent) = (house(WATCHED).await, Silent::start().await);
    let text = silent.within(&house.text());
    house.write("gateway.yaml", &text);
    silent.is_asked().await;
    house.write("gateway.yaml", &text.replace("path_prefix: /public", "path_prefix: /open"));
    silent.go.send_replace(true);
    wait("the later change", async || status(&house, "/open").await == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_it() {
    let (house, silent) = (house(ASKED).await, Silent::start().await);
    house.write("gateway.yaml", &silent.within(&house.text()));
    let begin = Instant::now();
    let (answer, ()) = tokio::join!(house.post_reload(), async {
        silent.is_asked().await;
        house.gateway.stop();
        house.gateway.ended().await;
    });
    assert_eq!(answer.0, 409, "{}", answer.1);
    assert!(begin.elapsed() < Duration::from_secs(8), "it waited for the issuer");
}

/// Many signals in a reload ask for one more.
#[tokio::test(flavor = "multi_thread")]
async fn signals_do_not_pile_up() {
    let mut house = House::built(Plan { more: ASKED, ..Plan::default() }).await;
    let process = Process::instead_of(&mut house, "{ level: info, access: none }").await;
    let silent = Silent::start().await;
    let file = house.directory.path().join("process.yaml");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    std::fs::write(&file, silent.within(&text)).expect("written");
    process.signal("HUP");
    silent.is_asked().await;
    for before in 1..=30 {
        // Each is heard before the next is sent, and all before the first reload may end: so it is known what they have to come to.
        let heard = || process.stderr().matches("heard; the configuration is read again").count();
        wait("the signal before is heard", async || heard() == before).await;
        process.signal("HUP");
        wait("the signal is heard", async || heard() == before + 1).await;
    }
    silent.go.send_replace(true);
    wait("the first and one more", async || reloads(&house, "applied").await >= 2).await;
    assert_eq!(house.post_reload().await.0, 200, "whatever was asked for is done by now");
    assert_eq!(reloads(&house, "applied").await, 3);
}
