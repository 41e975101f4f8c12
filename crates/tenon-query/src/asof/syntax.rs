//! The words of the join, brought into the form that the SQL parser and DataFusion's planner have.
//!
//! The parser knows `ASOF JOIN` alone, so that `ASOF LEFT JOIN` loses its second word, and `ASOF INNER JOIN` becomes `GLOBAL
//! ASOF JOIN`: a word of the parser's that means nothing else here. The planner can be extended where it meets a table,
//! not where it meets a join; so joins of this kind are put in brackets, and the bracket is the table.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Join, JoinOperator, Select, TableFactor, TableWithJoins, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::QueryError;

/// The same query in words that the parser has.
///
/// # Errors
/// [`QueryError::Syntax`] for a kind of join that there is not.
pub(crate) fn plain_words(sql: &str) -> Result<Option<String>, QueryError> {
    // What is no SQL at all is told of by who parses it.
    let Ok(mut tokens) = Tokenizer::new(&GenericDialect {}, sql).with_unescape(false).tokenize() else {
        return Ok(None);
    };
    let words: Vec<(usize, Keyword)> =
        tokens.iter().enumerate().filter_map(|(at, token)| Some((at, keyword(token)?))).collect();
    let mut changed = false;
    for (at, (asof, _)) in words.iter().enumerate().filter(|(_, (_, word))| *word == Keyword::ASOF) {
        if at > 0 && words[at - 1].1 == Keyword::GLOBAL && adjacent(&tokens, words[at - 1].0, *asof) {
            return Err(QueryError::Syntax("GLOBAL says nothing of an ASOF JOIN: leave it out".to_owned()));
        }
        let said: Vec<Keyword> = words[at + 1..].iter().take(3).map(|(_, word)| *word).collect();
        let drop = |tokens: &mut Vec<Token>, count: usize| {
            for (gone, _) in &words[at + 1..=at + count] {
                tokens[*gone] = Token::make_keyword("");
            }
        };
        match said.as_slice() {
            [Keyword::LEFT, Keyword::JOIN, ..] => drop(&mut tokens, 1),
            [Keyword::LEFT, Keyword::OUTER, Keyword::JOIN] => drop(&mut tokens, 2),
            [Keyword::INNER, Keyword::JOIN, ..] => {
                drop(&mut tokens, 1);
                tokens[*asof] = Token::make_keyword("GLOBAL ASOF");
            }
            [kind @ (Keyword::RIGHT | Keyword::FULL | Keyword::CROSS), ..] => {
                return Err(QueryError::Syntax(format!(
                    "there is no ASOF {kind:?} JOIN: write ASOF JOIN, which keeps every row of the table before it, or \
                     ASOF INNER JOIN"
                )));
            }
            _ => continue,
        }
        changed = true;
    }
    Ok(changed.then(|| tokens.iter().map(ToString::to_string).collect()))
}

fn keyword(token: &Token) -> Option<Keyword> {
    match token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.keyword),
        Token::Whitespace(_) => None,
        // Whatever else stands between two words keeps them apart.
        _ => Some(Keyword::NoKeyword),
    }
}

fn adjacent(tokens: &[Token], first: usize, second: usize) -> bool {
    tokens[first + 1..second].iter().all(|token| matches!(token, Token::Whitespace(_)))
}

/// Puts the joins of this kind in brackets.
pub(crate) fn nest(statement: &mut Statement) {
    match statement {
        Statement::Statement(inner) => {
            let _ = inner.visit(&mut Nesting);
        }
        Statement::Explain(explain) => nest(&mut explain.statement),
        _ => {}
    }
}

struct Nesting;

impl VisitorMut for Nesting {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        select.from.iter_mut().for_each(bracket);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = factor
            // Those are in brackets already.
            && !table_with_joins.joins.iter().all(is_as_of)
        {
            bracket(table_with_joins);
        }
        ControlFlow::Continue(())
    }
}

/// Whether a join is of this kind.
pub(super) fn is_as_of(join: &Join) -> bool {
    matches!(join.join_operator, JoinOperator::AsOf { .. })
}

fn bracket(from: &mut TableWithJoins) {
    if !from.joins.iter().any(is_as_of) {
        return;
    }
    let mut before = TableWithJoins { relation: from.relation.clone(), joins: Vec::new() };
    for join in std::mem::take(&mut from.joins) {
        // Joins of one kind in a row share a bracket.
        if before.joins.last().is_some_and(|last| is_as_of(last) != is_as_of(&join)) {
            before = TableWithJoins { relation: in_brackets(before), joins: Vec::new() };
        }
        before.joins.push(join);
    }
    *from = match before.joins.iter().any(is_as_of) {
        true => TableWithJoins { relation: in_brackets(before), joins: Vec::new() },
        false => before,
    };
}

fn in_brackets(table_with_joins: TableWithJoins) -> TableFactor {
    TableFactor::NestedJoin { table_with_joins: Box::new(table_with_joins), alias: None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(sql: &str, expected: Option<&str>) {
        assert_eq!(plain_words(sql).unwrap().as_deref(), expected, "{sql}");
    }

    #[test]
    fn the_kind_of_a_join_is_said_in_words_that_the_parser_has() {
        check("SELECT * FROM a ASOF JOIN b", None);
        check("SELECT 'ASOF LEFT JOIN' FROM a -- ASOF LEFT JOIN", None);
        check("SELECT asof FROM a LEFT JOIN b", None);
        check("FROM a asof left join b", Some("FROM a asof  join b"));
        check(
            "FROM a ASOF LEFT OUTER JOIN b ASOF /* c */ INNER JOIN \"d\"\"\"",
            Some("FROM a ASOF   JOIN b GLOBAL ASOF /* c */  JOIN \"d\"\"\""),
        );
    }

    #[test]
    fn a_kind_that_there_is_not_is_refused() {
        for sql in ["FROM a ASOF RIGHT JOIN b", "FROM a ASOF FULL OUTER JOIN b"] {
            assert!(plain_words(sql).unwrap_err().to_string().contains("there is no ASOF"), "{sql}");
        }
        assert!(plain_words("FROM a GLOBAL ASOF JOIN b").is_err());
    }
}
