//! Commands that read, beside a program that holds the company folder: `serve`, `ingest --follow`.
//!
//! The folder has one writer, and a refusal, the online store and the journal are that one's alone. So whoever holds it for
//! long opens a Unix socket below it, and a command that only reads asks there instead of opening anything itself: the
//! same command, on the parts that are open already, with the same policies and the same record. The socket is for its
//! owner alone (mode 0600, and the peer's user is looked at), who could read the folder as well.
//!
//! A question and its answer are one line of JSON each; a caller who goes away is not answered any more.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use clap::Parser;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Context, dispatch};
use crate::args::Arguments;
use crate::failure::{Failure, While};
use crate::output::{Answer, say, shown_to, width};
use crate::platform::Platform;

/// Where the socket is, below the company folder.
const FOLDER: &str = ".tenon";
const SOCKET: &str = "commands.sock";
/// Questions that are answered at once; others wait.
const AT_ONCE: usize = 4;
/// The longest question.
const MOST_BYTES: u64 = 1 << 20;
/// How long a question may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A command line, and who asks from where.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    arguments: Vec<String>,
    token: Option<String>,
    /// What paths on the command line are relative to.
    at: PathBuf,
    /// The columns of the asker's terminal, if it is one.
    width: Option<u16>,
}

/// What the command came to.
#[derive(Serialize, Deserialize)]
enum Reply {
    Answered(Answer),
    Failed { message: String, code: u8 },
}

/// Asks the program that holds the folder; none where no program does.
///
/// # Errors
/// What the command fails with there, and when the program ends before it has answered.
pub async fn ask(context: &Context) -> Result<Option<Answer>, Failure> {
    let Ok((_folder, path)) = place(context.dir()) else { return Ok(None) };
    // What a program left that was killed is there, and nobody listens.
    let Ok(mut stream) = UnixStream::connect(&path).await else { return Ok(None) };
    let arguments = std::env::args_os().map(|argument| argument.into_string());
    let arguments = arguments.collect::<Result<_, _>>().map_err(|argument| {
        Failure::Usage(format!("`{}` is not UTF-8, so that it cannot be handed on", argument.display()))
    })?;
    let at = std::env::current_dir().during("looking where we are")?;
    let question = Question { arguments, token: context.token.clone(), at, width: width() };
    let mut line = serde_json::to_vec(&question).during("writing the question")?;
    line.push(b'\n');
    let mut reply = String::new();
    let asked = async {
        stream.write_all(&line).await?;
        stream.read_to_string(&mut reply).await
    };
    asked.await.during("asking the program that holds the folder")?;
    match serde_json::from_str(&reply) {
        Ok(Reply::Answered(answer)) => Ok(Some(answer)),
        Ok(Reply::Failed { message, code }) => Err(Failure::Told { message, code }),
        Err(_) => Err(Failure::Told {
            message: "error: the program that holds the folder ended before it answered; try again".to_owned(),
            code: 3,
        }),
    }
}

/// The door for commands that read, while it is open.
pub struct Beside {
    stop: CancellationToken,
    answering: Option<JoinHandle<()>>,
}

/// Answers commands that read until it is closed. A folder in which no socket can stand has no such door.
pub fn open(platform: &Platform, background: &Handle) -> Beside {
    let stop = CancellationToken::new();
    let answering = match listen(&platform.root) {
        Ok(door) => Some(tokio::spawn(door.answer(platform.clone(), background.clone(), stop.clone()))),
        Err(error) => {
            say(format!("commands that read wait until this ends, since no socket can stand in the folder: {error}"));
            None
        }
    };
    Beside { stop, answering }
}

impl Beside {
    /// Ends it; who waits for an answer hears that there is none.
    ///
    /// # Errors
    /// When it ended badly before.
    pub async fn close(self) -> Result<(), Failure> {
        self.stop.cancel();
        match self.answering {
            Some(answering) => answering.await.during("ending"),
            None => Ok(()),
        }
    }
}

/// An open door. The socket goes with it.
struct Door {
    listener: UnixListener,
    path: PathBuf,
    /// Who may come in.
    owner: u32,
    /// What the path goes by.
    _folder: File,
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whoever calls holds the folder: a socket that is there is of a program that was killed.
fn listen(root: &Path) -> io::Result<Door> {
    let (folder, path) = place(root)?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let owner = std::fs::metadata(&path)?.uid();
    Ok(Door { listener, path, owner, _folder: folder })
}

/// The socket's path. Such a path has a hundred bytes at the most, and a folder's may have more: by way of the open folder
/// it is short, where the system has that.
fn place(root: &Path) -> io::Result<(File, PathBuf)> {
    let path = root.join(FOLDER);
    let folder = File::open(&path)?;
    let by_handle = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    let path = if by_handle.exists() { by_handle } else { path };
    Ok((folder, path.join(SOCKET)))
}

impl Door {
    async fn answer(self, platform: Platform, background: Handle, stop: CancellationToken) {
        let mut callers = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return callers.shutdown().await,
                Some(_) = callers.join_next() => {}
                accepted = self.listener.accept(), if callers.len() < AT_ONCE => match accepted {
                    Ok((stream, _)) if self.is_ours(&stream) => {
                        callers.spawn(attend(platform.clone(), background.clone(), stream));
                    }
                    Ok(_) => tracing::warn!("another user's program asked for the folder, and was not heard"),
                    Err(error) => {
                        tracing::warn!(%error, "nobody could ask for the folder");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }

    fn is_ours(&self, stream: &UnixStream) -> bool {
        stream.peer_cred().is_ok_and(|peer| peer.uid() == self.owner || peer.uid() == 0)
    }
}

/// Hears one question and answers it, unless the caller goes away.
async fn attend(platform: Platform, background: Handle, mut stream: UnixStream) {
    let (from, mut to) = stream.split();
    let (mut from, mut line) = (BufReader::new(from.take(MOST_BYTES)), String::new());
    let heard = tokio::time::timeout(PATIENCE, from.read_line(&mut line)).await;
    let question = match heard {
        Ok(Ok(_)) => serde_json::from_str::<Question>(&line),
        _ => return,
    };
    let Ok(question) = question else { return };
    let mut nothing = String::new();
    let reply = tokio::select! {
        reply = run(platform, background, question) => reply,
        _ = from.read_line(&mut nothing) => return,
    };
    let reply = match reply {
        Ok(answer) => Reply::Answered(answer),
        Err(failure) => Reply::Failed { message: failure.message(), code: failure.code() },
    };
    // Who went away meanwhile needs none.
    if let Ok(bytes) = serde_json::to_vec(&reply) {
        let _ = to.write_all(&bytes).await;
    }
}

/// Boxed, since the commands hold this door and this door the commands.
fn run(
    platform: Platform,
    background: Handle,
    question: Question,
) -> Pin<Box<dyn Future<Output = Result<Answer, Failure>> + Send>> {
    Box::pin(async move {
        let Question { arguments, token, at, width } = question;
        let asked = Arguments::try_parse_from(arguments).during("reading the command")?;
        if !asked.command.only_reads() {
            return Err(Failure::Usage("only commands that read are answered beside another".to_owned()));
        }
        // What this program was started with, such as a token in its environment, is not the asker's.
        let dir = Some(platform.root.clone());
        let context = Context { dir, token, output: asked.output, background, held: Some(platform), at };
        shown_to(width, dispatch(&context, asked.command)).await
    })
}
