//! Tables as of a moment, a version or a tag, said within a query.
//!
//! `flights FOR SYSTEM_TIME AS OF '2013-04-01'` and `flights FOR VERSION AS OF 7` (or a tag: `FOR VERSION AS OF 'q1'`) are
//! SQL:2011's words with those of Trino and Iceberg; `TIMESTAMP AS OF` and `VERSION AS OF` without `FOR` are Spark's. The
//! SQL parser of DataFusion has none of them, so that they are found among the text's tokens and taken out of it: the
//! query then names a table that stands for that state, which the caller registers.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::{Keyword, RESERVED_FOR_TABLE_ALIAS};
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer, Whitespace, Word};
use tenon_core::AsOf;

use crate::QueryError;

/// A table that a query reads as of some state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatedTable {
    /// The name that stands for it in the query.
    pub name: String,
    /// The table.
    pub table: String,
    /// Which state of it.
    pub as_of: AsOf,
}

/// A query without its `AS OF` clauses, and the tables that they were said of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated {
    /// The query, in which [`StatedTable::name`]s stand for tables.
    pub sql: String,
    /// Each once.
    pub tables: Vec<StatedTable>,
}

/// Takes the `AS OF` clauses out of a query.
///
/// # Errors
/// [`QueryError::Syntax`] when what follows `AS OF` is not something to read as of, or no table stands before.
pub fn stated(sql: &str) -> Result<Stated, QueryError> {
    let untouched = || Stated { sql: sql.to_owned(), tables: Vec::new() };
    // What is no SQL at all is told of by who parses it.
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).with_unescape(false).tokenize() else {
        return Ok(untouched());
    };
    let mut written: Vec<Token> = Vec::with_capacity(tokens.len());
    let mut tables: Vec<StatedTable> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let said = clause(&tokens, at).filter(|said| said.has_for || is_literal(&tokens, said.after));
        let Some(Clause { kind, after, .. }) = said else {
            written.push(tokens[at].clone());
            at += 1;
            continue;
        };
        let (as_of, after) = value(&tokens, after, kind)?;
        let table = take_table(&mut written)?;
        let name = format!("{table}@{as_of}");
        written.push(quoted(&name));
        if !has_alias(&tokens, after) {
            for token in [Token::make_keyword("AS"), quoted(&table)] {
                written.extend([Token::Whitespace(Whitespace::Space), token]);
            }
        }
        let stated = StatedTable { name, table, as_of };
        if !tables.contains(&stated) {
            tables.push(stated);
        }
        at = after;
    }
    if tables.is_empty() {
        return Ok(untouched());
    }
    Ok(Stated { sql: written.iter().map(ToString::to_string).collect(), tables })
}

/// A name in quotes; quotes within it are doubled, as tokens are written as they stand.
fn quoted(name: &str) -> Token {
    Token::Word(Word { value: name.replace('"', "\"\""), quote_style: Some('"'), keyword: Keyword::NoKeyword })
}

/// What a clause is said in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Time,
    Version,
}

/// A clause up to its value.
struct Clause {
    kind: Kind,
    /// Without it the words may as well be a column with an alias.
    has_for: bool,
    /// Where its value stands.
    after: usize,
}

/// The clause that begins at a token.
fn clause(tokens: &[Token], at: usize) -> Option<Clause> {
    if matches!(tokens.get(at), Some(Token::Whitespace(_))) {
        return None;
    }
    let (first, mut next) = word(tokens, at)?;
    let has_for = first.eq_ignore_ascii_case("FOR");
    let said = if has_for {
        let (said, after) = word(tokens, next)?;
        next = after;
        said
    } else {
        first
    };
    let kind = match said.to_ascii_uppercase().as_str() {
        "SYSTEM_TIME" | "TIMESTAMP" => Kind::Time,
        "VERSION" | "SYSTEM_VERSION" => Kind::Version,
        _ => return None,
    };
    let (r#as, after) = word(tokens, next)?;
    let (of, after) = word(tokens, after)?;
    (r#as.eq_ignore_ascii_case("AS") && of.eq_ignore_ascii_case("OF")).then_some(Clause { kind, has_for, after })
}

fn is_literal(tokens: &[Token], at: usize) -> bool {
    matches!(tokens.get(literal(tokens, at)), Some(Token::SingleQuotedString(_) | Token::Number(..)))
}

/// Where the literal at a token has its text: `TIMESTAMP '2013-04-01'` and `DATE '2013-04-01'` are literals too.
fn literal(tokens: &[Token], at: usize) -> usize {
    match word(tokens, at) {
        Some((said, after)) if said.eq_ignore_ascii_case("TIMESTAMP") || said.eq_ignore_ascii_case("DATE") => {
            skip_space(tokens, after)
        }
        _ => skip_space(tokens, at),
    }
}

/// The word at or after a token, without quotes, and the token behind it.
fn word(tokens: &[Token], at: usize) -> Option<(&str, usize)> {
    let at = skip_space(tokens, at);
    match tokens.get(at)? {
        Token::Word(word) if word.quote_style.is_none() => Some((&word.value, at + 1)),
        _ => None,
    }
}

fn skip_space(tokens: &[Token], mut at: usize) -> usize {
    while matches!(tokens.get(at), Some(Token::Whitespace(_))) {
        at += 1;
    }
    at
}

/// What stands behind `AS OF`, and the token behind that.
fn value(tokens: &[Token], at: usize, kind: Kind) -> Result<(AsOf, usize), QueryError> {
    let plain = is_literal(tokens, at);
    let at = literal(tokens, at);
    let said = match tokens.get(at) {
        Some(Token::SingleQuotedString(text) | Token::Number(text, _)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let wrong = |what: &str| {
        QueryError::Syntax(format!("`{said}` stands behind AS OF, where {what} is wanted, written as a plain value"))
    };
    // SQL writes moments with a space, and means UTC here.
    let parsed = said.parse().or_else(|error| match said.split_once(' ') {
        Some((day, time)) if kind == Kind::Time => format!("{day}T{}Z", time.trim_end_matches('Z')).parse(),
        _ => Err(error),
    });
    match (kind, parsed) {
        (Kind::Time, Ok(as_of @ AsOf::Time(_))) if plain => Ok((as_of, at + 1)),
        (Kind::Version, Ok(as_of @ (AsOf::Version(_) | AsOf::Tag(_) | AsOf::Latest))) if plain => Ok((as_of, at + 1)),
        (Kind::Time, _) => Err(wrong("a moment such as '2013-04-01T00:00:00Z'")),
        (Kind::Version, _) => Err(wrong("a version or the name of a tag")),
    }
}

/// Takes the table's name off the end of what is written.
fn take_table(written: &mut Vec<Token>) -> Result<String, QueryError> {
    while matches!(written.last(), Some(Token::Whitespace(_))) {
        written.pop();
    }
    match written.pop() {
        // Names without quotes fold to lower case, as everywhere.
        Some(Token::Word(Word { value, quote_style: None, .. })) => Ok(value.to_lowercase()),
        Some(Token::Word(Word { value, quote_style: Some('"'), .. })) => Ok(value.replace("\"\"", "\"")),
        _ => Err(QueryError::Syntax("AS OF is said of a table: write it behind the table's name".to_owned())),
    }
}

fn has_alias(tokens: &[Token], at: usize) -> bool {
    match tokens.get(skip_space(tokens, at)) {
        Some(Token::Word(word)) => {
            word.keyword == Keyword::AS
                || word.quote_style.is_some()
                || !RESERVED_FOR_TABLE_ALIAS.contains(&word.keyword)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(sql: &str, expected: &str, tables: &[(&str, &str)]) {
        let stated = stated(sql).unwrap();
        assert_eq!(stated.sql, expected);
        let found: Vec<(&str, String)> =
            stated.tables.iter().map(|table| (table.table.as_str(), table.as_of.to_string())).collect();
        let found: Vec<(&str, &str)> = found.iter().map(|(table, as_of)| (*table, as_of.as_str())).collect();
        assert_eq!(found, tables);
    }

    #[test]
    fn a_clause_becomes_a_table_that_stands_for_the_state() {
        check(
            "SELECT count(*) FROM flights FOR VERSION AS OF 7",
            "SELECT count(*) FROM \"flights@7\" AS \"flights\"",
            &[("flights", "7")],
        );
        check(
            "SELECT * FROM Flights FOR SYSTEM_TIME AS OF TIMESTAMP '2013-04-01 00:00:00' f WHERE f.id = 'x''y'",
            "SELECT * FROM \"flights@2013-04-01T00:00:00Z\" f WHERE f.id = 'x''y'",
            &[("flights", "2013-04-01T00:00:00Z")],
        );
        check(
            "SELECT * FROM \"flights\" VERSION AS OF 'q1' JOIN flights AS now ON TRUE",
            "SELECT * FROM \"flights@q1\" AS \"flights\" JOIN flights AS now ON TRUE",
            &[("flights", "q1")],
        );
        check(
            "SELECT * FROM a for version as of 1 AS x, a TIMESTAMP AS OF '1970-01-02' EXCEPT SELECT * FROM a VERSION AS OF 1",
            "SELECT * FROM \"a@1\" AS x, \"a@1970-01-02T00:00:00Z\" AS \"a\" EXCEPT SELECT * FROM \"a@1\" AS \"a\"",
            &[("a", "1"), ("a", "1970-01-02T00:00:00Z")],
        );
    }

    #[test]
    fn what_says_no_state_stays_as_it_is() {
        for sql in [
            "SELECT 'flights FOR VERSION AS OF 7' FROM t -- FOR VERSION AS OF 7",
            "SELECT version AS of_all, version AS of, \"as\" FROM t",
            "SELECT CAST(x AS TIMESTAMP) AS of FROM t",
            "SELEC 'unclosed",
        ] {
            check(sql, sql, &[]);
        }
    }

    #[test]
    fn a_state_that_is_none_is_told_of() {
        for (sql, says) in [
            ("SELECT * FROM t FOR VERSION AS OF now()", "`now` stands behind AS OF"),
            ("SELECT * FROM t FOR SYSTEM_TIME AS OF 7", "where a moment such as"),
            ("SELECT * FROM t FOR VERSION AS OF '2013-04-01'", "a version or the name of a tag"),
            ("SELECT * FROM (SELECT 1) FOR VERSION AS OF 7", "write it behind the table's name"),
        ] {
            let error = stated(sql).unwrap_err().to_string();
            assert!(error.contains(says), "{sql}: {error}");
        }
    }
}
