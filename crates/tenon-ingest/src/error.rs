//! What can go wrong between a source and the lake.

use std::io;

use tenon_core::spec::closest;
use tenon_lake::LakeError;

/// Why rows could not be taken in.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// There is no such dataset.
    #[error("there is no dataset `{dataset}`{}", near.as_ref().map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default())]
    NoDataset {
        /// The name as given.
        dataset: String,
        /// The dataset that was probably meant.
        near: Option<String>,
    },
    /// A dataset whose rows do not come from files.
    #[error("dataset `{0}` does not read files: its rows are pushed, or it is a view")]
    NoFiles(String),
    /// A path pattern that says more than is understood here.
    #[error(
        "`{0}` is not a pattern of files: `*` may stand in the last part of the path only, as in data/flights/*.parquet"
    )]
    Pattern(String),
    /// An address of an object store that says nothing.
    #[error("{0}")]
    Address(String),
    /// An object store that does not answer, or not as it should.
    #[error("the object store of `{address}` does not do what it should: {what}")]
    Store {
        /// What was asked for.
        address: String,
        /// What it says.
        what: String,
    },
    /// A file that was written while it was read; an object, again and again.
    #[error("`{0}` changed while it was read: nothing of it has landed, and it is taken once it rests")]
    Changed(String),
    /// A file of a watched folder that its writer has not ended.
    #[error("{what}, so that somebody writes it still; it is taken when it is whole")]
    Unfinished {
        /// What it lacks.
        what: &'static str,
    },
    /// A file or folder that cannot be read.
    #[error("`{path}` cannot be read")]
    Io {
        /// The file or folder.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A folder into which nothing more can be written, such as on a full disk.
    #[error("`{path}` cannot be written: there is no room for `{name}` while it is read")]
    NoRoom {
        /// The folder.
        path: String,
        /// What was to stand there for a moment.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A file that is not what its name says.
    #[error("`{path}` cannot be read: {what}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        what: String,
    },
    /// Rows as JSON that are none.
    #[error("line {line} is not a JSON object: {what}")]
    Json {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// An idempotency key that was used for other rows.
    #[error(
        "idempotency key `{key}` was used for other rows of dataset `{dataset}`, which landed in version {version}: these rows have not landed; push them with a key of their own"
    )]
    KeyUsed {
        /// The key.
        key: String,
        /// The dataset.
        dataset: String,
        /// The version in which the other rows landed.
        version: u64,
    },
    /// A dataset whose rows do not come from Kafka.
    #[error("dataset `{0}` does not read a topic: its source is not `kafka`")]
    NoTopics(String),
    /// Rows that could not be put together.
    #[error("rows of dataset `{dataset}` cannot be read: {what}")]
    Rows {
        /// The dataset.
        dataset: String,
        /// Why.
        what: String,
    },
    /// A secret that is not where the declaration says.
    #[error("the secret `{reference}` cannot be read: {what}")]
    Secret {
        /// Where it should be.
        reference: String,
        /// Why it is not there.
        what: String,
    },
    /// A cluster that does not answer, or not as it should.
    #[error("the Kafka cluster `{brokers}` does not do what it should: {what}")]
    Kafka {
        /// Where it was looked for.
        brokers: String,
        /// What it says.
        what: String,
    },
    /// A cluster that does not believe who we are, or whom we do not believe.
    #[error("the Kafka cluster `{brokers}` and we do not come together: {what} (see `security` of the source)")]
    KafkaRefused {
        /// Where it was looked for.
        brokers: String,
        /// What the client library says.
        what: String,
    },
    /// A schema registry that does not answer.
    #[error("the schema registry `{url}` does not answer: {what}")]
    Registry {
        /// Its address.
        url: String,
        /// What went wrong.
        what: String,
    },
    /// A topic that is not there.
    #[error("the Kafka cluster `{brokers}` has no topic `{topic}`: make it, or correct `topics`")]
    NoTopic {
        /// The cluster.
        brokers: String,
        /// The topic.
        topic: String,
    },
    /// A topic that ends before the place where the table stands.
    #[error(
        "partition {partition} of topic `{topic}` ends at offset {end}, and dataset `{dataset}` has read up to {position}: the topic was deleted and made anew; raise `generation` of the source to read the new one from its `start`"
    )]
    TopicAnew {
        /// The dataset.
        dataset: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where the table stands.
        position: u64,
        /// Where the topic ends.
        end: u64,
    },
    /// Messages that the cluster deleted before they were read.
    #[error(
        "partition {partition} of topic `{topic}` begins at offset {begin}, and dataset `{dataset}` has read up to {position} only: the cluster deleted what lies between, which is lost; raise `generation` of the source to go on with what is left"
    )]
    TopicCut {
        /// The dataset.
        dataset: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where the table stands.
        position: u64,
        /// Where the topic begins.
        begin: u64,
    },
    /// The lake.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// Rows are in the lake, and the listener did not take them.
    #[error("the rows of `{dataset}` are safe, but could not be handed on; they will be when it catches up")]
    Feed {
        /// The dataset.
        dataset: String,
        /// What the listener says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A fault of the program itself, such as a task that was cut off.
    #[error("reading `{0}` ended early")]
    Interrupted(String),
}

impl IngestError {
    pub(crate) fn no_dataset<'a>(dataset: &str, known: impl Iterator<Item = &'a str>) -> Self {
        Self::NoDataset { dataset: dataset.to_owned(), near: closest(dataset, known).map(str::to_owned) }
    }
}
