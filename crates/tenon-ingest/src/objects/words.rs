//! What a store says, for people: in one line, and without what must not be said.

use object_store::Error;
use tenon_core::spec::StoreKind;

/// The longest answer that is repeated.
const LONGEST: usize = 400;

/// How to speak of one store.
#[derive(Debug)]
pub(super) struct Words {
    kind: StoreKind,
    /// Whether it was said who asks.
    has_key: bool,
    /// What is never said.
    secrets: Vec<String>,
}

impl Words {
    pub(super) fn new(kind: StoreKind, has_key: bool, secrets: Vec<String>) -> Self {
        Self { kind, has_key, secrets }
    }

    /// An error as a sentence.
    pub(super) fn of(&self, error: &Error) -> String {
        let said = self.without_secrets(&said(error));
        // Where a listing is refused, the library has one general error for all reasons.
        let is = |status: &str| matches!(error, Error::Generic { .. }) && said.contains(status);
        let sentence = match error {
            Error::NotFound { .. } => format!("there is no such bucket or object: {said}"),
            Error::PermissionDenied { .. } => format!("it does not let us: {said}"),
            Error::Unauthenticated { .. } => format!("it does not know who asks: {said}"),
            _ if is("404 Not Found") => format!("there is no such bucket or object: {said}"),
            _ if is("403 Forbidden") => format!("it does not let us: {said}"),
            _ if is("401 Unauthorized") => format!("it does not know who asks: {said}"),
            _ => said,
        };
        match self.kind {
            _ if self.has_key => sentence,
            StoreKind::S3 => format!(
                "{sentence} (no access key is declared: `access_key` and `secret_key` under [source.store], or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
            ),
            StoreKind::Gcs => format!("{sentence} (no `service_account` is declared under [source.store])"),
            StoreKind::Azure => format!("{sentence} (no `secret_key` is declared under [source.store])"),
        }
    }

    fn without_secrets(&self, text: &str) -> String {
        let secrets = self.secrets.iter().filter(|secret| !secret.is_empty());
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "…"))
    }
}

/// The library's words with what is behind them. An answer that came as XML is cut to what it says.
fn said(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_said = cause.to_string();
        if !text.contains(&cause_said) {
            text.push_str(&format!(": {cause_said}"));
        }
        source = cause.source();
    }
    if let Some(start) = text.find("<?xml").or_else(|| text.find("<Error")) {
        let between = |tag: &str| {
            let (_, rest) = text.split_once(&format!("<{tag}>"))?;
            Some(rest.split_once('<')?.0.to_owned())
        };
        let told: Vec<String> = ["Code", "Message"].into_iter().filter_map(between).collect();
        text.truncate(start);
        text.push_str(&told.join(": "));
    }
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn denied(body: &str) -> Error {
        Error::PermissionDenied { path: "flights".to_owned(), source: body.to_owned().into() }
    }

    #[test]
    fn an_answer_in_xml_is_cut_to_what_it_says_and_names_no_secret() {
        let body = "403 Forbidden: <?xml version=\"1.0\"?>\n<Error><Code>InvalidAccessKeyId</Code>\n  <Message>No key \
            AKIA123 here.</Message><AWSAccessKeyId>AKIA123</AWSAccessKeyId></Error>";
        let words = Words::new(StoreKind::S3, true, vec!["AKIA123".to_owned(), String::new()]);
        let told = words.of(&denied(body));
        assert!(told.starts_with("it does not let us: "), "{told}");
        assert!(told.ends_with("403 Forbidden: InvalidAccessKeyId: No key … here."), "{told}");
    }

    #[test]
    fn a_listing_that_is_refused_is_told_as_such() {
        let general = |body: &str| Error::Generic { store: "S3", source: body.to_owned().into() };
        let words = Words::new(StoreKind::S3, true, Vec::new());
        assert!(words.of(&general("status code: 403 Forbidden: no")).starts_with("it does not let us: "));
        assert!(
            words.of(&general("status code: 404 Not Found: no")).starts_with("there is no such bucket or object: ")
        );
        assert_eq!(words.of(&general("no route to host")), "Generic S3 error: no route to host");
    }

    #[test]
    fn who_gave_no_key_is_told_where_to_give_one() {
        let told = Words::new(StoreKind::S3, false, Vec::new()).of(&denied("no"));
        assert!(told.contains("`access_key` and `secret_key` under [source.store]"), "{told}");
        assert!(Words::new(StoreKind::S3, true, Vec::new()).of(&denied(&"x ".repeat(1000))).chars().count() < 450);
    }
}
