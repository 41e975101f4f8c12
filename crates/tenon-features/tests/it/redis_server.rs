//! A Redis of one test, which may kill it, stop it, and start it again.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Client, Connection, IntoConnectionInfo, RedisResult};

pub const PASSWORD: &str = "open sesame";

pub struct Server {
    program: std::ffi::OsString,
    folder: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Server {
    /// None, which is said aloud, where `REDIS_SERVER` does not name the program.
    pub fn start() -> Option<Self> {
        let Some(program) = std::env::var_os("REDIS_SERVER") else {
            // Not by a macro, whose words nobody sees of a test that passes.
            let _ = writeln!(std::io::stderr(), "SKIPPED for want of a Redis: REDIS_SERVER names its program");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = run(&program, folder.path(), port);
        Some(Self { program, folder, port, process })
    }

    pub fn address(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again with what it had.
    pub fn start_again(&mut self) {
        self.process = run(&self.program, self.folder.path(), self.port);
    }

    /// It accepts, and does not answer.
    pub fn hang(&self) {
        self.signal("-STOP");
    }

    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let told = Command::new("kill").arg(signal).arg(self.process.id().to_string()).status().unwrap();
        assert!(told.success());
    }

    pub fn connection(&self) -> Connection {
        connect(self.port).unwrap()
    }

    /// All keys with their values.
    pub fn all(&self) -> Vec<(String, Vec<u8>)> {
        let mut connection = self.connection();
        let mut keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
        keys.sort();
        let value = |key: Vec<u8>| {
            let value = redis::cmd("GET").arg(&key).query(&mut connection).unwrap();
            (String::from_utf8_lossy(&key).into_owned(), value)
        };
        keys.into_iter().map(value).collect()
    }

    /// How many commands of this name it has executed.
    pub fn executed(&self, command: &str) -> u64 {
        let told: String = redis::cmd("INFO").arg("commandstats").query(&mut self.connection()).unwrap();
        let start = format!("cmdstat_{command}:calls=");
        let calls = told.lines().find_map(|line| line.strip_prefix(&start)?.split(',').next()?.parse().ok());
        calls.unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What it is told is on disk before it answers.
fn run(program: &std::ffi::OsStr, folder: &Path, port: u16) -> Child {
    let mut command = Command::new(program);
    command.arg("--port").arg(port.to_string()).args(["--bind", "127.0.0.1", "--requirepass", PASSWORD]);
    command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "always"]).arg("--dir").arg(folder);
    let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while let Err(error) = connect(port) {
        assert!(Instant::now() < end, "Redis does not answer: {error}");
        std::thread::sleep(Duration::from_millis(10));
    }
    process
}

fn connect(port: u16) -> RedisResult<Connection> {
    let info = format!("redis://127.0.0.1:{port}/0").into_connection_info()?;
    let settings = info.redis_settings().clone().set_password(PASSWORD);
    let mut connection = Client::open(info.set_redis_settings(settings))?.get_connection()?;
    redis::cmd("PING").exec(&mut connection)?;
    Ok(connection)
}
