//! Threads of their own for what goes on beside the doors. Flushing, training and compaction keep a processor busy for tens
//! of milliseconds at a time: on the threads that answer callers each of them would be felt as a stall.

use std::io;

use thread_priority::{ThreadPriority, set_current_thread_priority};
use tokio::runtime::{Builder, Runtime};

/// Niceness 9, on the scale of `thread-priority`, where callers have 50: about a tenth of a busy processor, all of an idle
/// one.
const PRIORITY: u8 = 25;

/// Threads that run their tasks, and the blocking work which those start, after the callers'.
///
/// # Errors
/// When the system gives no threads.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().thread_name("background").enable_all().on_thread_start(step_back).build()
}

fn step_back() {
    let stepped = ThreadPriority::try_from(PRIORITY).map(set_current_thread_priority);
    if !matches!(stepped, Ok(Ok(()))) {
        tracing::warn!(?stepped, "a background thread kept the priority of callers");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The 17th word after the command's name in `/proc/.../stat` is the niceness: proc(5).
    #[cfg(target_os = "linux")]
    fn niceness() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, after) = stat.rsplit_once(')').unwrap();
        after.split_whitespace().nth(16).unwrap().parse().unwrap()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn tasks_and_their_blocking_work_step_back_and_nobody_else() {
        let callers = niceness();
        let background = runtime().unwrap();
        let work = async { (niceness(), tokio::task::spawn_blocking(niceness).await.unwrap()) };
        let (task, blocking) = background.block_on(background.spawn(work)).unwrap();
        assert_eq!((task, blocking), (9, 9));
        assert_eq!(niceness(), callers);
    }
}
