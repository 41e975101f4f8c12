//! Progress of long work: a line that moves on a terminal, plain lines when piped.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::say;

/// The steps of long work, told one by one on standard error.
pub struct Steps {
    total: usize,
    done: usize,
    started: Instant,
}

/// One step under way.
pub struct Step {
    title: String,
    started: Instant,
    bar: Option<ProgressBar>,
}

impl Steps {
    /// Work of so many steps.
    pub fn of(total: usize) -> Self {
        Self { total, done: 0, started: Instant::now() }
    }

    /// Begins the next step; `length` is how much there is to do in it, where that is known.
    pub fn begin(&mut self, title: &str, length: Option<u64>) -> Step {
        self.done += 1;
        let title = format!("[{}/{}] {title}", self.done, self.total);
        let bar = stderr().is_terminal().then(|| bar(&title, length));
        Step { title, started: Instant::now(), bar }
    }

    /// Time since the work began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

fn bar(title: &str, length: Option<u64>) -> ProgressBar {
    let template = match length {
        Some(_) => "{spinner} {msg} {bar:30} {percent}%, {eta} left",
        None => "{spinner} {msg} {elapsed}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar =
        length.map_or_else(ProgressBar::new_spinner, ProgressBar::new).with_style(style).with_message(title.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

impl Step {
    /// So much of the step is done.
    pub fn at(&self, position: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(position);
        }
    }

    /// Ends the step with what came of it.
    pub fn end(self, outcome: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        say(format!("{:<26} {outcome} ({:.1} s)", self.title, self.started.elapsed().as_secs_f64()));
    }
}
