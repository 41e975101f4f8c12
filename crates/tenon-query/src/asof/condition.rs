//! What `MATCH_CONDITION` and `ON` say.

use datafusion::common::{Column, DFSchema};
use datafusion::common::{Result, ScalarValue, plan_datafusion_err, plan_err};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};

use super::kinds::{key_type, unit_of};

/// How long after its event a row may still be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Hash)]
pub(super) struct TimeToLive {
    /// In nanoseconds, not negative.
    pub nanos: i64,
    /// Whether an age of exactly that much still counts.
    pub inclusive: bool,
}

/// When a row of a feature table may be seen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub(super) struct Match {
    /// The observation's moment.
    pub moment: Expr,
    /// When the row's event happened.
    pub event: Bound,
    /// When the row was known.
    pub known: Option<Bound>,
    pub ttl: Option<TimeToLive>,
}

/// A column of the feature table that must lie before the moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub(super) struct Bound {
    pub expr: Expr,
    /// Whether the moment itself is too late.
    pub strict: bool,
}

/// On which side of the join the columns of an expression are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Observations,
    Features,
    Both,
    Neither,
}

/// The two sides of a join.
pub(super) struct Sides<'a> {
    pub observations: &'a DFSchema,
    pub features: &'a DFSchema,
}

impl Sides<'_> {
    fn of(&self, expr: &Expr) -> Side {
        let columns = expr.column_refs();
        let has = |schema: &DFSchema, column: &Column| schema.maybe_index_of_column(column).is_some();
        let left = columns.iter().any(|column| has(self.observations, column));
        let right = columns.iter().any(|column| !has(self.observations, column) && has(self.features, column));
        match (left, right) {
            (true, true) => Side::Both,
            (true, false) => Side::Observations,
            (false, true) => Side::Features,
            (false, false) => Side::Neither,
        }
    }

    /// Reads `MATCH_CONDITION`.
    ///
    /// # Errors
    /// Says what is not understood, or what is missing.
    pub fn read_match(&self, condition: Expr) -> Result<Match> {
        let told = condition.to_string();
        let mut bounds: Vec<(Expr, Bound)> = Vec::new();
        let mut lives: Vec<(Expr, Expr, TimeToLive)> = Vec::new();
        for part in split_conjunction_owned(condition) {
            let Some((later, earlier, strict)) = comparison(&part) else { return not_understood(&part) };
            if let Some(life) = self.time_to_live(&later, &earlier, strict)? {
                lives.push(life);
            } else if self.of(&later) == Side::Observations && self.of(&earlier) == Side::Features {
                bounds.push((later, Bound { expr: earlier, strict }));
            } else if self.of(&later) == Side::Features && self.of(&earlier) == Side::Observations {
                return plan_err!(
                    "`{part}` asks for rows after the observation's moment; an ASOF JOIN takes the newest row before \
                     it: write `{earlier} >= {later}`"
                );
            } else {
                return not_understood(&part);
            }
        }
        let mut bounds = bounds.into_iter();
        let Some((moment, event)) = bounds.next() else {
            return plan_err!(
                "MATCH_CONDITION ({told}) names no event time: compare the observation's moment with the column that \
                 says when a row happened, such as `observations.decided_at >= features.event_time`"
            );
        };
        let known = bounds.next();
        if let Some((third, bound)) = bounds.next() {
            return plan_err!(
                "MATCH_CONDITION has a third comparison, `{third} >= {}`: the first says when a row happened, the \
                 second when it was known, and there is no more to say",
                bound.expr
            );
        }
        if let Some((other, bound)) = known.as_ref().filter(|(other, _)| *other != moment) {
            return plan_err!(
                "`{other} >= {}` compares with another moment than `{moment} >= {}`: a row must have happened and be \
                 known by the same moment",
                bound.expr,
                event.expr
            );
        }
        let mut ttl = None;
        for (of, from, life) in lives {
            if of != moment || from != event.expr {
                return plan_err!(
                    "the time to live is told of `{of}` and `{from}`; tell it of `{moment}` and `{}`, which are \
                     compared first",
                    event.expr
                );
            }
            if ttl.replace(life).is_some() {
                return plan_err!("MATCH_CONDITION tells the time to live twice");
            }
        }
        let read = Match { moment, event, known: known.map(|(_, bound)| bound), ttl };
        self.require_moments(&read)?;
        Ok(read)
    }

    fn require_moments(&self, read: &Match) -> Result<()> {
        let features = std::iter::once(&read.event).chain(&read.known).map(|bound| (&bound.expr, self.features));
        for (expr, schema) in features.chain([(&read.moment, self.observations)]) {
            let data_type = expr.get_type(schema)?;
            if unit_of(&data_type).is_none() {
                return plan_err!("`{expr}` holds {data_type}, where an ASOF JOIN needs a time stamp or a date");
            }
        }
        Ok(())
    }

    /// Reads a bound on the distance of two moments: who is later, who is earlier, and by how much at the most.
    fn time_to_live(&self, later: &Expr, earlier: &Expr, strict: bool) -> Result<Option<(Expr, Expr, TimeToLive)>> {
        let life = |of: &Expr, from: &Expr, span: &Expr| {
            let sides = (self.of(of), self.of(from));
            match (sides, span_nanos(span)?) {
                ((Side::Observations, Side::Features), Some(nanos)) => {
                    Ok(Some((of.clone(), from.clone(), TimeToLive { nanos, inclusive: !strict })))
                }
                _ => Ok(None),
            }
        };
        match (later, earlier) {
            // span >= moment - event
            (span, Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right })) if is_span(span) => {
                life(left, right, span)
            }
            // event >= moment - span
            (event, Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right })) if is_span(right) => {
                life(left, event, right)
            }
            // event + span >= moment
            (Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right }), moment) if is_span(right) => {
                life(moment, left, right)
            }
            _ => Ok(None),
        }
    }

    /// Reads `ON`: pairs of keys, the observation's first.
    ///
    /// # Errors
    /// Says what is not an equality of keys, or which keys cannot be compared.
    pub fn read_on(&self, condition: Expr) -> Result<Vec<(Expr, Expr)>> {
        let mut keys = Vec::new();
        for part in split_conjunction_owned(condition) {
            let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = part else {
                return plan_err!(
                    "`{part}` stands in the ON of an ASOF JOIN, which takes equalities of keys alone: put what else \
                     rows must keep into a query in brackets in the table's place"
                );
            };
            let (observations, features) = match (self.of(&left), self.of(&right)) {
                (Side::Observations, Side::Features) => (*left, *right),
                (Side::Features, Side::Observations) => (*right, *left),
                _ => {
                    return plan_err!(
                        "`{left} = {right}` stands in the ON of an ASOF JOIN, and does not compare a key of the \
                         observations with one of the table that is joined"
                    );
                }
            };
            let (left, right) = (observations.get_type(self.observations)?, features.get_type(self.features)?);
            if key_type(&left, &right).is_none() {
                return plan_err!(
                    "`{observations}` holds {left} and `{features}` holds {right}: keys are text, whole numbers, \
                     booleans, dates or time stamps, and of one kind on both sides"
                );
            }
            keys.push((observations, features));
        }
        Ok(keys)
    }
}

fn not_understood<T>(part: &Expr) -> Result<T> {
    plan_err!(
        "`{part}` in MATCH_CONDITION is not understood: it takes `moment >= event_time`, then `moment >= known_at` where \
         rows are known later, and `moment - event_time <= INTERVAL '12 hours'` for a time to live, joined by AND"
    )
}

/// A comparison as (greater, less, whether they may not be equal).
fn comparison(expr: &Expr) -> Option<(Expr, Expr, bool)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return None };
    let (left, right) = (left.as_ref().clone(), right.as_ref().clone());
    match op {
        Operator::GtEq => Some((left, right, false)),
        Operator::Gt => Some((left, right, true)),
        Operator::LtEq => Some((right, left, false)),
        Operator::Lt => Some((right, left, true)),
        _ => None,
    }
}

fn is_span(expr: &Expr) -> bool {
    use ScalarValue::{
        DurationMicrosecond, DurationMillisecond, DurationNanosecond, DurationSecond, IntervalDayTime,
        IntervalMonthDayNano, IntervalYearMonth,
    };
    matches!(
        expr,
        Expr::Literal(
            IntervalMonthDayNano(_)
                | IntervalDayTime(_)
                | IntervalYearMonth(_)
                | DurationSecond(_)
                | DurationMillisecond(_)
                | DurationMicrosecond(_)
                | DurationNanosecond(_),
            _
        )
    )
}

/// The length of a constant span.
fn span_nanos(expr: &Expr) -> Result<Option<i64>> {
    const DAY: i128 = 86_400_000_000_000;
    let Expr::Literal(value, _) = expr else { return Ok(None) };
    let no_length = || {
        plan_datafusion_err!("`{expr}` has months, which are not of one length: tell a time to live in days or less")
    };
    let nanos = match value {
        ScalarValue::IntervalMonthDayNano(Some(span)) if span.months == 0 => {
            i128::from(span.days) * DAY + i128::from(span.nanoseconds)
        }
        ScalarValue::IntervalDayTime(Some(span)) => {
            i128::from(span.days) * DAY + i128::from(span.milliseconds) * 1_000_000
        }
        ScalarValue::DurationSecond(Some(span)) => i128::from(*span) * 1_000_000_000,
        ScalarValue::DurationMillisecond(Some(span)) => i128::from(*span) * 1_000_000,
        ScalarValue::DurationMicrosecond(Some(span)) => i128::from(*span) * 1_000,
        ScalarValue::DurationNanosecond(Some(span)) => i128::from(*span),
        _ => return Err(no_length()),
    };
    match i64::try_from(nanos) {
        Ok(nanos) if nanos >= 0 => Ok(Some(nanos)),
        _ => plan_err!("a time to live of `{expr}` lets no row count, or is beyond 292 years"),
    }
}
