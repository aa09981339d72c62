//! The real binary, started as an operator would start it and stopped by signals.

use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::house::House;

/// Longer than anything here takes, unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// `holdfast serve`, running. Dropping it ends it.
pub struct Process {
    child: Child,
    stdout: Arc<Mutex<Vec<u8>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
}

impl Process {
    /// Serves a house's configuration once more, in a process of its own, with this under `log`; `house` then speaks to that one.
    pub async fn instead_of(house: &mut House, log: &str) -> Self {
        let directory = house.directory.path();
        let text = std::fs::read_to_string(directory.join("gateway.yaml")).expect("the configuration");
        let quiet = "log: { level: error, access: none }";
        assert!(text.contains(quiet), "{text}");
        let file = directory.join("process.yaml");
        std::fs::write(&file, text.replace(quiet, &format!("log: {log}"))).expect("written");
        let process = Self::serve(&file);
        (house.address, house.admin) = process.addresses().await;
        wait("it is ready", async || house.ask_admin("/readyz").await.0 == 200).await;
        catch_up(house);
        process
    }

    /// Serves a configuration.
    pub fn serve(file: &Path) -> Self {
        let mut command = mortal(env!("CARGO_BIN_EXE_holdfast"));
        command.args(["serve", "--config"]).arg(file).stdin(Stdio::null()).stdout(Stdio::piped());
        Self::start(command)
    }

    /// Serves a configuration on a socket that it is passed, as systemd passes one, with more in the environment. Standard input is the one
    /// way to hand a descriptor down that needs nothing unsafe; a shell puts it where it belongs.
    pub fn serve_on(socket: std::net::TcpListener, name: &str, file: &Path, more: &[(&str, &Path)]) -> Self {
        const PASS: &str = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
        let mut command = mortal("sh");
        command.args(["-c", PASS, "sh", env!("CARGO_BIN_EXE_holdfast"), "serve", "--config"]).arg(file);
        command.env("LISTEN_FDNAMES", name).envs(more.iter().copied());
        command.stdin(OwnedFd::from(socket)).stdout(Stdio::piped());
        Self::start(command)
    }

    fn start(mut command: Command) -> Self {
        command.stderr(Stdio::piped());
        let mut child = start(command);
        let stdout = gather(child.stdout.take().expect("piped"));
        let stderr = gather(child.stderr.take().expect("piped"));
        Self { child, stdout, stderr }
    }

    /// Where it says that it listens: for callers, and for operators.
    pub async fn addresses(&self) -> (SocketAddr, SocketAddr) {
        let found = |what: &str| {
            let told = self.stderr();
            let (_, rest) = told.split_once(what)?;
            let (_, rest) = rest.lines().next()?.split_once("address=")?;
            rest.split(' ').next()?.parse().ok()
        };
        wait("it listens", async || found("listening for callers").is_some()).await;
        (
            found("listening for callers").expect("an address"),
            found("listening for operators").expect("an address"),
        )
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        String::from_utf8(self.stdout.lock().expect("no one panicked").clone()).expect("UTF-8")
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8(self.stderr.lock().expect("no one panicked").clone()).expect("UTF-8")
    }

    /// The most memory that it has had at once, in KiB.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &command]).status().expect("a shell").success());
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        wait("it ends", async || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        })
        .await;
        status.expect("it has ended")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command for [`start`], which does not outlive the run: an interrupted one drops nothing, and would leave its servers behind.
pub fn mortal(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

/// Starts a command. The system sends the signal of [`mortal`] when the thread ends that has started the child, so that is one that ends with the run.
pub fn start(command: Command) -> Child {
    type Order = (Command, Sender<std::io::Result<Child>>);
    static STARTER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (ask, asked) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, started) in asked {
                let child = command.spawn();
                // It may hold a socket that is the child's alone.
                drop(command);
                // Who asked may have given up.
                let _ = started.send(child);
            }
        });
        Mutex::new(ask)
    });
    let (started, starts) = channel();
    starter.lock().expect("no one panicked").send((command, started)).expect("the thread runs");
    starts.recv().expect("an answer").expect("setpriv is installed (Debian package util-linux)")
}

/// Sets the house's clock to the time, which is that of the process.
pub fn catch_up(house: &House) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    house.pass_time(i64::try_from(now).expect("a date") - house.now());
}

/// Waits until something is so.
pub async fn wait(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < PATIENCE, "not so: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn gather(mut pipe: impl Read + Send + 'static) -> Arc<Mutex<Vec<u8>>> {
    let gathered = Arc::<Mutex<Vec<u8>>>::default();
    let into = Arc::clone(&gathered);
    std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            into.lock().expect("no one panicked").extend_from_slice(&buffer[..count]);
        }
    });
    gathered
}
