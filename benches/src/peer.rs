//! Peers: programs of others, in Python, that are asked to do the same work; and parts of a measurement that want a process
//! of their own.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::{Fault, fault, repository};

/// A peer that runs. It answers one line of JSON for one line of text, so that its turns alternate with ours.
pub struct Peer {
    name: &'static str,
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts `benches/peers/SCRIPT` on a folder, with the interpreter that `TENON_BENCH_PYTHON` names. `threads` are what
    /// its libraries may use.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(script: &'static str, folder: &Path, threads: usize) -> Result<Self, Fault> {
        let python = std::env::var_os("TENON_BENCH_PYTHON")
            .ok_or_else(|| fault("TENON_BENCH_PYTHON names no interpreter; benches/run.sh makes one"))?;
        let mut command = Command::new(python);
        command.arg(repository("benches/peers").join(script)).arg(folder);
        Self::run(script, command.env("OMP_NUM_THREADS", threads.to_string()))
    }

    /// Starts a program that answers as a peer does; `name` is what faults call it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(name: &'static str, command: &mut Command) -> Result<Self, Fault> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let questions = child.stdin.take();
        let answers = child.stdout.take().ok_or_else(|| fault("the peer has no output"))?;
        Ok(Self { name, child, questions, answers: BufReader::new(answers) })
    }

    /// Asks for one thing and waits for the answer.
    ///
    /// # Errors
    /// When the peer ended instead.
    pub fn ask(&mut self, question: &str) -> Result<Value, Fault> {
        let ended = || fault(format!("{} ended before it answered `{question}`", self.name));
        let mut questions = self.questions.as_ref().ok_or_else(ended)?;
        writeln!(questions, "{question}").map_err(|_| ended())?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.is_empty() {
            return Err(ended());
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// Asks for one thing and waits for the seconds that it took.
    ///
    /// # Errors
    /// As [`Peer::ask`], and when the answer has no seconds.
    pub fn time(&mut self, question: &str) -> Result<f64, Fault> {
        let answer = self.ask(question)?;
        answer["seconds"].as_f64().ok_or_else(|| fault(format!("{} told no seconds: {answer}", self.name)))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.questions = None; // the end of its input ends it
        let _ = self.child.wait();
    }
}
