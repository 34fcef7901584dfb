//! The rule parser takes the book's form and says what is wrong with any other.

use duplex_spec::{Level, Registry, registry, rule};

fn error(markdown: &str) -> String {
    rule::parse_chapter("calls.md", markdown).expect_err("the chapter is wrong").to_string()
}

#[test]
fn a_rule_is_its_id_and_the_paragraph_below() {
    let text = "# Calls\n\nr[call.reply]\nA provider MUST\nreply.\n\nNo rule here, and `MUST` is only quoted.\n\n```\nr[not.a-rule]\nMUST\n```\n";
    let rules = rule::parse_chapter("calls.md", text).expect("the chapter is right");
    assert_eq!(rules.len(), 1);
    assert_eq!((rules[0].id.as_str(), rules[0].level), ("call.reply", Level::Must));
    assert_eq!(rules[0].text, "A provider MUST reply.");
    assert_eq!(rules[0].anchor, "calls.html#r-call.reply");
}

#[test]
fn the_strongest_keyword_decides_the_level() {
    let level = |sentence: &str| {
        let rules = rule::parse_chapter("calls.md", &format!("r[a.b]\n{sentence}\n")).expect("the chapter is right");
        rules[0].level
    };
    assert_eq!(level("It SHOULD NOT, but MAY."), Level::Should);
    assert_eq!(level("It MAY, and then it MUST NOT stop."), Level::Must);
    assert_eq!(level("It MAY."), Level::May);
}

#[test]
fn a_keyword_without_an_id_is_an_error() {
    assert_eq!(
        error("# Calls\n\nA provider MUST reply.\n"),
        "calls.md:3: a MUST without a rule id: give it an `r[…]` line, or say it without the keyword"
    );
    assert!(error("It SHOULD reply.\n").starts_with("calls.md:1: a SHOULD without a rule id"));
}

#[test]
fn a_malformed_id_is_an_error() {
    for id in ["call", "Call.reply", "call..reply", "call.reply.", "call.-reply", "call reply", ""] {
        assert!(error(&format!("r[{id}]\nIt MUST reply.\n")).contains("is no rule id"), "{id}");
    }
}

#[test]
fn a_rule_without_a_sentence_is_an_error() {
    assert!(error("r[call.reply]\n\nIt replies.\n").contains("rule `call.reply` has no sentence"));
    assert!(error("r[call.reply]\n").contains("rule `call.reply` has no sentence"));
}

#[test]
fn a_rule_without_a_keyword_is_an_error() {
    assert_eq!(error("r[call.reply]\nIt replies.\n"), "calls.md:1: rule `call.reply` has no MUST, SHOULD or MAY");
    assert!(error("r[call.reply]\nIt `MUST` reply.\n").contains("has no MUST"));
}

#[test]
fn a_rule_inside_a_paragraph_is_an_error() {
    let what = "calls.md:3: `r[call.reply.id]` starts inside a paragraph: leave a line empty above it";
    assert_eq!(error("r[call.reply]\nIt MUST reply.\nr[call.reply.id]\nIt MUST carry the id.\n"), what);
    assert_eq!(error("It replies.\nThat is all.\nr[call.reply.id]\nIt MUST carry the id.\n"), what);
}

#[test]
fn a_rule_may_say_why_nothing_can_check_it() {
    let text = "r[call.reply]\nIt MUST reply.\nUntestable: nobody\nis there to see it.\n";
    let rules = rule::parse_chapter("calls.md", text).expect("the chapter is right");
    assert_eq!(rules[0].text, "It MUST reply.");
    assert_eq!(rules[0].untestable.as_deref(), Some("nobody is there to see it."));
    assert!(error("r[call.reply]\nIt MUST reply.\nUntestable:\n").contains("untestable without a reason"));
}

#[test]
fn an_id_that_stands_twice_is_an_error() {
    let mut rules = rule::parse_chapter("calls.md", "r[call.reply]\nIt MUST reply.\n").expect("the chapter is right");
    rules.extend(rule::parse_chapter("errors.md", "r[call.reply]\nIt MUST fail.\n").expect("the chapter is right"));
    let error = Registry::new(rules).expect_err("the id stands twice").to_string();
    assert_eq!(error, "errors.md: rule `call.reply` stands in calls.md already");
}

#[test]
fn chapters_are_those_of_the_summary() {
    let summary = "# Summary\n\n[Introduction](introduction.md)\n- [Calls](./calls.md)\n  - [Deep](conformance/deep.md)\n";
    assert_eq!(rule::chapters(summary).collect::<Vec<_>>(), ["introduction.md", "calls.md", "conformance/deep.md"]);
}

#[test]
fn the_registry_finds_every_rule_by_its_id() {
    assert!(registry().iter().count() > 100);
    assert!(registry().iter().all(|rule| registry().rule(&rule.id) == Some(rule)));
    assert_eq!(registry().rule("no.such-rule"), None);
}
