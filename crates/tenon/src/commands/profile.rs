//! `profile`.

use tenon_core::AsOf;
use tenon_lake::{ColumnProfile, Profile};
use tenon_policy::Action;

use super::Context;
use crate::failure::{Failure, While};
use crate::output::{Answer, count, table};

/// Longer values are cut where they are shown.
const LONGEST_SHOWN: usize = 24;

/// Says what a table holds.
pub async fn profile(context: &Context, name: &str, as_of: AsOf) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    platform.allow_table(&by, Action::DatasetQuery, name).await?;
    let profile = platform.lake.profile(name, as_of).await.during("measuring")?;
    let text = drawn(&profile);
    Answer::new(&profile, text)
}

fn drawn(profile: &Profile) -> String {
    let version = profile.version.map_or_else(String::new, |version| format!(", version {version}"));
    let rows = profile.columns.iter().map(|column| row(profile, column));
    let header = ["column", "type", "missing", "distinct", "least", "median", "greatest", "spread", "most frequent"];
    format!("{}{version}: {} rows\n{}", profile.table, count(profile.rows), table(&header, rows))
}

fn row(profile: &Profile, column: &ColumnProfile) -> [String; 9] {
    let missing = match column.nulls {
        0 => "0".to_owned(),
        nulls => format!("{} ({:.1}%)", count(nulls), nulls as f64 * 100.0 / profile.rows.max(1) as f64),
    };
    let top: Vec<String> =
        column.top.iter().take(3).map(|(value, times)| format!("{} ({})", cut(value), count(*times))).collect();
    [
        column.name.clone(),
        column.data_type.clone(),
        missing,
        format!("~{}", count(column.distinct)),
        column.least.as_deref().map_or_else(String::new, cut),
        column.quantiles.map_or_else(String::new, |quantiles| {
            format!("{:.4}", quantiles[2]).trim_end_matches('0').trim_end_matches('.').to_owned()
        }),
        column.greatest.as_deref().map_or_else(String::new, cut),
        bars(&column.histogram),
        top.join(", "),
    ]
}

fn cut(text: &str) -> String {
    let short: String = text.chars().take(LONGEST_SHOWN).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

/// Counts as bars of eight heights; a count of none is a blank.
fn bars(counts: &[u64]) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let height = |count: u64| (count as f64 / most as f64 * HEIGHTS.len() as f64).ceil() as usize;
    let bar = |count: &u64| if *count == 0 { ' ' } else { HEIGHTS[height(*count).clamp(1, HEIGHTS.len()) - 1] };
    counts.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::bars;

    #[test]
    fn counts_are_bars_and_none_is_a_blank() {
        assert_eq!(bars(&[0, 1, 50, 100]), " ▁▄█");
        assert_eq!(bars(&[]), "");
    }
}
