//! `--from`: the reports of a run that was saved as JSON lines. What a report says depends on the events alone.

use std::fs;
use std::path::Path;

use crate::event::Event;
use crate::report::Report;

use super::stop::Stop;

/// Feeds a saved run to the reports. The exit status is that of the run.
pub(super) fn tell(path: &Path, mut reports: Vec<Box<dyn Report>>) -> Result<u8, Stop> {
    let shown = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| Stop::usage(format!("{shown}: {error}"), "--events run.jsonl").advise("--events saves a run"))?;
    let mut status = None;
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let event: Event = serde_json::from_str(line).map_err(|error| {
            Stop::usage(format!("{shown}:{}: no event: {error}", index + 1), "--events run.jsonl")
                .advise("a saved run has one event a line, as schemas/events.schema.json says")
        })?;
        if let Event::RunFinished { exit, .. } = &event {
            status = Some(*exit);
        }
        reports.retain_mut(|report| report.event(&event).is_ok());
    }
    // A run that was cut off, by a full disk say, must not pass for one that held.
    status.ok_or_else(|| Stop::harness(format!("{shown}: the run has no end")).advise("it was cut off; run it again"))
}
