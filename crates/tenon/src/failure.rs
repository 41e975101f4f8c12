//! What a command can fail with, and what the program then says and returns.

use std::error::Error;
use std::process::ExitCode;

use miette::Report;

/// Why a command did not do what was asked.
pub enum Failure {
    /// Somebody may not, or a rule says no. Exit code 1.
    Refused(String),
    /// The request makes no sense as it is. Exit code 2.
    Usage(String),
    /// A file of the company is wrong. Exit code 1.
    Files(Report),
    /// Something went wrong. Exit code 3.
    Other(Report),
    /// What another program, which was asked, says that people read, and its exit code.
    Told { message: String, code: u8 },
}

impl Failure {
    /// Something went wrong while doing `what`.
    pub fn other(what: &str, error: impl Error + Send + Sync + 'static) -> Self {
        Self::Other(
            miette::IntoDiagnostic::into_diagnostic(Err::<(), _>(error))
                .map_or_else(|report: Report| report.wrap_err(what.to_owned()), |()| miette::miette!("{what}")),
        )
    }

    /// The exit code of this failure.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    /// The same as a number.
    pub fn code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Files(_) => 1,
            Self::Usage(_) => 2,
            Self::Other(_) => 3,
            Self::Told { code, .. } => *code,
        }
    }

    /// What people read.
    pub fn message(&self) -> String {
        match self {
            Self::Refused(sentence) => format!("refused: {sentence}"),
            Self::Usage(sentence) => format!("error: {sentence}"),
            Self::Files(report) => format!("{report:?}"),
            Self::Told { message, .. } => message.clone(),
            Self::Other(report) => {
                let mut chain = report.chain().map(ToString::to_string);
                let first = chain.next().unwrap_or_default();
                chain.fold(format!("error: {first}"), |text, cause| format!("{text}\n  because {cause}"))
            }
        }
    }
}

/// Puts what was being done in front of an error.
pub trait While<T> {
    /// The value, or a failure that says what was being done.
    fn during(self, what: &str) -> Result<T, Failure>;
}

impl<T, E: Error + Send + Sync + 'static> While<T> for Result<T, E> {
    fn during(self, what: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::other(what, error))
    }
}
