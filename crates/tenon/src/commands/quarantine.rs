//! `replay`, `quarantine`.

use serde_json::json;
use tenon_core::spec::{ResourceKind, ResourceRef};
use tenon_core::{AsOf, DatasetName, Principal};
use tenon_lake::Selection;
use tenon_policy::Action;

use super::Context;
use super::data::answer;
use crate::args::QuarantineCommand;
use crate::failure::{Failure, While};
use crate::output::{Answer, count};
use crate::platform::Platform;

/// More groups of rules than this are not listed.
const MOST_RULES: usize = 1_000;

/// A dataset by its name, where `by` may do `action` to it.
pub async fn dataset(platform: &Platform, by: &Principal, name: &str, action: Action) -> Result<DatasetName, Failure> {
    let dataset: DatasetName =
        name.parse().map_err(|error: tenon_core::name::NameError| Failure::Usage(error.to_string()))?;
    platform.allow(by, action, ResourceRef::new(ResourceKind::Dataset, name)).await?;
    Ok(dataset)
}

/// Runs kept rows through cleaning and contract again.
pub async fn replay(context: &Context, name: &str, from: u64) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    let dataset = dataset(&platform, &by, name, Action::DatasetReplay).await?;
    let fact = platform.features.replay(&by, &dataset, from).await.during("replaying")?;
    let text = format!(
        "version {}: {} batches replayed, {} rows: {} in the table, {} quarantined, {} dropped, {} left out as repeated\n{} rows land now that did not, {} do not any more",
        fact.version,
        count(fact.batches),
        count(fact.rows_in),
        count(fact.accepted),
        count(fact.quarantined),
        count(fact.dropped),
        count(fact.duplicates),
        count(fact.now_accepted),
        count(fact.no_longer_accepted),
    );
    Answer::new(&fact, text)
}

/// Looks at, releases or discards quarantined rows.
pub async fn quarantine(context: &Context, what: QuarantineCommand) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    match what {
        QuarantineCommand::List { dataset: name } => {
            let dataset = dataset(&platform, &by, &name, Action::DatasetQuery).await?;
            answer(&platform.lake.quarantine_reasons(&dataset).await.during("reading the quarantine")?, MOST_RULES)
        }
        QuarantineCommand::Show { dataset: name, limit } => {
            let dataset = dataset(&platform, &by, &name, Action::DatasetQuery).await?;
            let open = platform.lake.open_rows_sql(&dataset).await.during("reading the quarantine")?;
            let sql = format!(
                "SELECT _source, _row_number, _reason, _row, _quarantined_at FROM ({open}) ORDER BY _quarantined_at DESC, _row_number"
            );
            answer(&platform.lake.query(&sql, AsOf::Latest).await.during("reading the quarantine")?, limit)
        }
        QuarantineCommand::Release { dataset: name, filter, set, reason } => {
            let dataset = dataset(&platform, &by, &name, Action::QuarantineRelease).await?;
            let selection = Selection { filter, set: repairs(&set)? };
            release(&platform, &by, &dataset, &selection, &reason).await
        }
        QuarantineCommand::Discard { dataset: name, filter, reason } => {
            let dataset = dataset(&platform, &by, &name, Action::QuarantineDiscard).await?;
            let discarded = platform.lake.discard_quarantined(&by, &dataset, filter.as_deref(), &reason).await;
            let discarded = discarded.during("discarding")?;
            let text = match &discarded {
                Some(fact) => format!("{} rows discarded", count(fact.rows)),
                None => "no open row is meant".to_owned(),
            };
            Answer::new(&json!({ "discarded": discarded }), text)
        }
    }
}

async fn release(
    platform: &Platform,
    by: &Principal,
    dataset: &DatasetName,
    selection: &Selection,
    reason: &str,
) -> Result<Answer, Failure> {
    let released = platform.features.release(by, dataset, selection, reason).await.during("releasing")?;
    let landed = released.fact.as_ref().map_or(0, |fact| fact.rows);
    let mut text = match &released.fact {
        Some(fact) => format!("version {}: {} rows released", fact.version, count(landed)),
        None if released.chosen == 0 => "no open row is meant".to_owned(),
        None => "no row was released".to_owned(),
    };
    let broken: Vec<String> =
        released.still_broken.iter().map(|reason| format!("{} ({})", reason.rule, count(reason.rows))).collect();
    if !broken.is_empty() {
        let stay = count(released.chosen - landed.min(released.chosen));
        text.push_str(&format!("; {stay} stay in the quarantine: {}", broken.join("; ")));
    }
    let json = json!({ "released": released.fact, "chosen": released.chosen, "still_broken": released.still_broken });
    Ok(Answer::new(&json, text)?.refused_if(landed < released.chosen))
}

/// `COLUMN=SQL`, taken apart.
fn repairs(set: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let repair = |text: &String| match text.split_once('=') {
        Some((column, sql)) if !column.trim().is_empty() && !sql.trim().is_empty() => {
            Ok((column.trim().to_owned(), sql.trim().to_owned()))
        }
        _ => Err(Failure::Usage(format!("`{text}` is no repair\n  hint: write it as COLUMN=SQL, such as delay=NULL"))),
    };
    set.iter().map(repair).collect()
}
