//! Under a service manager: sockets that are passed, and what it is told.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use crate::house::{House, Plan};
use crate::process::{Process, wait};
use crate::reload::ASKED;
use crate::scene::Scene;
use crate::wire::Client;

/// The configuration of a house in a file of its own, for a listener at this address.
fn file(house: &House, address: &str) -> PathBuf {
    let text = house.text().replacen("address: 127.0.0.1:0", &format!("address: {address}"), 1);
    let file = house.directory.path().join("passed.yaml");
    std::fs::write(&file, text.replace("level: error", "level: info")).expect("written");
    file
}

fn socket() -> (std::net::TcpListener, String) {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address").to_string();
    (socket, address)
}

/// A socket belongs to the listener that it is named after, or to the one with its address. After the end it is still open: what came too late waits
/// for the next process.
#[tokio::test(flavor = "multi_thread")]
async fn a_passed_socket_is_served() {
    for name in ["public", "unknown", ""] {
        let mut house = House::built(Plan { more: ASKED, ..Plan::default() }).await;
        let (socket, address) = socket();
        let kept = socket.try_clone().expect("a second descriptor");
        let file = file(&house, &address);
        let mut process = Process::serve_on(socket, name, &file, &[]);
        (house.address, house.admin) = process.addresses().await;
        assert_eq!(house.address.to_string(), address);
        let mut scene = Scene::at(&house, "/public");
        scene.credentials = Some(Vec::new());
        assert_eq!(scene.send(&house).await.status, 200, "{name}");
        // A reload keeps it.
        assert_eq!(house.post_reload().await.0, 200);
        assert_eq!(scene.send(&house).await.status, 200, "{name}");
        process.signal("TERM");
        assert_eq!(process.ended().await.code(), Some(0), "{}", process.stderr());
        let process = Process::serve_on(kept, name, &file, &[]);
        let waits = tokio::spawn(async move { (scene.send(&house).await.status, house) });
        assert_eq!(waits.await.expect("no panic").0, 200);
        drop(process);
    }
}

/// A passed socket whose listener a reload takes away: callers are refused rather than kept waiting, and the log says so. A listener can have the address
/// again, from a reload or in the next process.
#[tokio::test(flavor = "multi_thread")]
async fn a_passed_socket_whose_listener_goes() {
    let mut house = House::built(Plan { more: ASKED, ..Plan::default() }).await;
    // With a port that was asked for, as in a socket unit; the system takes back one of its own choice.
    let address = socket().1;
    let socket = std::net::TcpListener::bind(&address).expect("the port is free again");
    let kept = socket.try_clone().expect("a second descriptor");
    let file = file(&house, "127.0.0.1:0");
    let without = std::fs::read_to_string(&file).expect("the configuration");
    let more = format!(
        "  - {{ name: more, address: '{address}', public_urls: ['https://more.example.com'], tls: plaintext }}\n"
    );
    let with = without.replacen("issuers:\n", &format!("{more}issuers:\n"), 1);
    let passed: std::net::SocketAddr = address.parse().expect("an address");
    let request = b"GET /public HTTP/1.1\r\nhost: more.example.com\r\n\r\n";
    let put = |text: &str| std::fs::write(&file, text).expect("written");
    put(&with);
    let mut process = Process::serve_on(socket, "more", &file, &[]);
    wait("it listens to operators", async || process.stderr().contains("listening for operators")).await;
    let (_, admin) = process.addresses().await;
    house.admin = admin;
    let asked = async || {
        Client::plain(passed).await.expect("taken").exchange(request).await.expect("answered").status
    };
    assert_eq!(asked().await, 200);
    for _ in 0..2 {
        put(&without);
        assert_eq!(house.post_reload().await.0, 200);
        // Not left waiting.
        let second = Duration::from_secs(1);
        let refused =
            async || matches!(tokio::time::timeout(second, Client::plain(passed)).await, Ok(Err(_)));
        wait("callers are refused", refused).await;
        assert!(process.stderr().contains("was passed by the service manager"), "{}", process.stderr());
        put(&with);
        let (status, said) = house.post_reload().await;
        assert_eq!((status, asked().await), (200, 200), "{said}");
    }
    put(&without);
    assert_eq!(house.post_reload().await.0, 200);
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.stderr());
    put(&with);
    let _next = Process::serve_on(kept, "more", &file, &[]);
    wait("the next process has it", async || Client::plain(passed).await.is_ok()).await;
    assert_eq!(asked().await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_belongs_to_none_stops_the_start() {
    let house = House::usual().await;
    for (name, address, said) in [
        ("unknown", "127.0.0.1:0", "belongs to no listener"),
        ("another", "127.0.0.1:0", "belongs to no listener"),
        ("public", "127.0.0.1:1", "is not at 127.0.0.1:1"),
    ] {
        let mut process = Process::serve_on(socket().0, name, &file(&house, address), &[]);
        assert_eq!(process.ended().await.code(), Some(2), "{name}");
        wait("it says why", async || process.stderr().contains(said)).await;
    }
}

/// `Type=notify-reload`: ready, then after SIGHUP that it reloads and since when, then ready again whatever came of it; at the end that it stops.
#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_is_told() {
    let mut house = House::built(Plan { more: ASKED, ..Plan::default() }).await;
    let path = house.directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let told = || {
        let mut buffer = [0; 1024];
        let length = manager.recv(&mut buffer).expect("it is told in time");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let (socket, address) = socket();
    let file = file(&house, &address);
    let mut process = Process::serve_on(socket, "public", &file, &[("NOTIFY_SOCKET", &path)]);
    assert_eq!(told(), "READY=1\nSTATUS=serving\n");
    (house.address, house.admin) = process.addresses().await;
    let text = std::fs::read_to_string(&file).expect("the configuration");
    for (text, status) in [
        (text.replace("admin:", "amdin:"), "STATUS=serving the configuration from before"),
        (text, "STATUS=serving\n"),
    ] {
        std::fs::write(&file, text).expect("written");
        process.signal("HUP");
        let began = told();
        let since = began.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{began}"));
        assert!(since.trim().parse::<u64>().is_ok_and(|since| since > 0), "{began}");
        let ended = told();
        assert!(ended.starts_with(&format!("READY=1\n{status}")), "{ended}");
    }
    process.signal("TERM");
    assert!(told().starts_with("STOPPING=1\n"));
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.stderr());
}
