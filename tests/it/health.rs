//! `holdfast health` says with its exit code what the admin listener says.

use std::net::SocketAddr;
use std::process::{Command, Output};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::house::{House, Plan};

async fn health(address: SocketAddr, more: &'static [&'static str]) -> (Option<i32>, String) {
    let asked = move || -> Output {
        Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .args(["health", "--timeout", "1", "--address", &address.to_string()])
            .args(more)
            .output()
            .expect("the binary starts")
    };
    let output = tokio::task::spawn_blocking(asked).await.expect("it ends");
    assert!(output.stdout.is_empty());
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_is_0_and_not_ready_is_1_with_the_reason() {
    let house = House::usual().await;
    assert_eq!(health(house.admin, &[]).await, (Some(0), String::new()));
    let issuer = "    keys: { jwks_url: \"http://127.0.0.1:1/unreachable\" }\n";
    let without_keys = House::built(Plan { issuer, ..Plan::default() }).await;
    without_keys.gateway.tried().await;
    let (code, said) = health(without_keys.admin, &[]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("503") && said.contains("waiting for the issuers' keys"), "{said}");
    assert_eq!(health(without_keys.admin, &["--live"]).await, (Some(0), String::new()));
}

/// A probe that hangs, or takes whatever listens there for the gateway, is worse than none.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_a_stranger_and_silence_are_1() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = free.local_addr().expect("an address");
    let (code, said) = health(address, &[]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("no answer within 1 s"), "{said}");

    let stranger = tokio::spawn(async move {
        let (mut stream, _) = free.accept().await.expect("a probe of before");
        drop(stream.shutdown().await);
        let (mut stream, _) = free.accept().await.expect("a probe");
        stream.write_all(b"220 mail.example.com ESMTP\r\n").await.expect("written");
    });
    let (code, said) = health(address, &[]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("no HTTP"), "{said}");
    stranger.await.expect("a stranger");

    let (code, said) = health(address, &[]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("nobody answers"), "{said}");
}
