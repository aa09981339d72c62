//! The scenes that are played together: in brief at every change, and all of them.

use std::time::Duration;

use crate::scene::{Act, Clocks, Limits, Scene, Spread, Verdict};
use crate::server::Engine::{self, Redis, Valkey};
use crate::store::OnFailure::{self, Nonce, Refuse};
use crate::store::Shape::{self, Alone, Cluster, Sentinel, Split, SplitCluster};
use crate::upset::Upset;

/// Seconds for which a proof is good: longer than any scene is broken and comes back, so that what was recorded before can be tried afterwards.
pub(crate) const MAX_AGE: u32 = 60;

/// So short that recorded requests are tried on both sides of the moment in which their proofs end.
const SHORT: u32 = 2;

fn scene(store: (Shape, Engine), replicas: usize, on_failure: OnFailure, act: Act) -> Scene {
    Scene {
        store: Some(store),
        replicas,
        on_failure,
        max_age: MAX_AGE,
        rules: Spread::Same,
        copies: None,
        clocks: Clocks::Right,
        limits: Limits::None,
        act,
        expected: Verdict::Once,
    }
}

fn upsets(upsets: &[Upset]) -> Act {
    Act::Upsets(upsets.to_vec())
}

/// Replicas that share nothing: the checker has to find double passes.
pub(crate) fn own_memory() -> Scene {
    let act = Act::SameRequest(5);
    Scene { store: None, expected: Verdict::Twice, ..scene((Alone, Redis), 3, Refuse, act) }
}

/// Claims of which a master that is cut off needs no copy: both halves of the network take a proof, and that has to be found.
fn split_brain() -> Scene {
    let act = upsets(&[Upset::Cut]);
    Scene { copies: Some(0), expected: Verdict::Twice, ..scene((Split, Redis), 2, Refuse, act) }
}

/// One scene of each kind: a step of tests/run, so no longer than that can bear.
pub(crate) fn brief() -> Vec<Scene> {
    vec![
        own_memory(),
        scene((Alone, Redis), 3, Refuse, Act::SameRequest(200)),
        scene((Alone, Valkey), 2, Refuse, Act::SameRequest(50)),
        scene((Alone, Valkey), 3, Refuse, upsets(&[Upset::Emptied, Upset::RingRotated])),
        scene((Alone, Redis), 2, Nonce, upsets(&[Upset::Paused, Upset::Flushed])),
        scene((Sentinel, Redis), 2, Refuse, upsets(&[Upset::MasterKilled])),
        scene((Cluster, Valkey), 2, Refuse, upsets(&[Upset::Resharded, Upset::MasterKilled])),
        scene((Split, Redis), 2, Refuse, upsets(&[Upset::Cut])),
        split_brain(),
        Scene {
            max_age: SHORT,
            clocks: Clocks::Apart,
            ..scene((Alone, Redis), 3, Refuse, upsets(&[Upset::GatewayPaused]))
        },
    ]
}

/// Everything.
pub(crate) fn long() -> Vec<Scene> {
    let mut scenes = vec![own_memory(), split_brain()];
    for engine in [Redis, Valkey] {
        for shape in [Alone, Sentinel, Cluster, Split, SplitCluster] {
            // Valkey's build of PyPI has no TLS.
            if shape.is_split() && engine == Valkey {
                continue;
            }
            scenes.push(scene((shape, engine), 2, Refuse, Act::SameRequest(300)));
            for on_failure in [Refuse, Nonce] {
                scenes.push(scene((shape, engine), 3, on_failure, upsets(Upset::all(shape))));
            }
        }
    }
    let apart = |clocks, scene| Scene { max_age: SHORT, clocks, ..scene };
    for on_failure in [Refuse, Nonce] {
        for shape in [Alone, Sentinel, Cluster, Split] {
            let all = scene((shape, Redis), 3, on_failure, upsets(Upset::all(shape)));
            scenes.push(apart(Clocks::Apart, all));
        }
        for shape in [Sentinel, Cluster] {
            // Debian's Redis has an allocator that asks for the time before libfaketime can say it.
            let promoted = [Upset::MasterKilled, Upset::MasterPaused, Upset::Flushed];
            scenes.push(apart(Clocks::Servers, scene((shape, Valkey), 3, on_failure, upsets(&promoted))));
        }
        let counted = scene((Alone, Redis), 3, on_failure, upsets(&[Upset::Paused, Upset::Emptied]));
        scenes.push(Scene { limits: Limits::Shared, ..counted });
        let differing = scene((Alone, Valkey), 3, on_failure, upsets(&[Upset::Reloaded, Upset::Emptied]));
        scenes.push(Scene { max_age: SHORT, rules: Spread::Apart, ..differing });
    }
    for (shape, engine, on_failure) in [
        (Alone, Redis, Refuse),
        (Alone, Valkey, Nonce),
        (Sentinel, Valkey, Refuse),
        (Sentinel, Redis, Nonce),
        (Cluster, Redis, Refuse),
        (Cluster, Valkey, Nonce),
        (Split, Redis, Refuse),
        (Split, Redis, Nonce),
    ] {
        scenes.push(scene((shape, engine), 3, on_failure, Act::Chaos(Duration::from_secs(60))));
    }
    scenes
}
