//! The whole way from chapters to pages, and every kind of failure once: a check that was never seen to fail is none.

use std::fs;
use std::path::Path;

use duplex_book::{BookError, Report, build};
use tempfile::TempDir;

const SUMMARY: &str = "# Summary\n\n[One](one.md)\n[Two](sub/two.md)\n";
const RULE: &str = "# One\n\nr[a.b]\nA peer MUST hold.\n";

/// A repository with a book of two chapters, and what a build of it gives.
struct Fixture {
    root: TempDir,
}

impl Fixture {
    fn new(one: &str, two: &str) -> Self {
        let fixture = Self { root: tempfile::tempdir().expect("a folder") };
        // The last section names chapters that this book does not have.
        let config = include_str!("../book.toml").split("[output.html.search.chapter]").next();
        fixture.write("book/book.toml", config.expect("a configuration"));
        fixture.write("book/theme/rules.css", include_str!("../theme/rules.css"));
        fixture.write("book/src/SUMMARY.md", SUMMARY);
        fixture.write("book/src/one.md", one);
        fixture.write("book/src/sub/two.md", two);
        fs::create_dir_all(fixture.root.path().join("vectors/messages")).expect("a folder");
        fs::create_dir_all(fixture.root.path().join("vectors/sessions")).expect("a folder");
        fixture
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn build(&self) -> Result<Report, BookError> {
        build(self.root.path(), &self.root.path().join("out"))
    }

    fn page(&self, path: &str) -> String {
        fs::read_to_string(self.root.path().join("out").join(path)).expect("a page")
    }

    /// What the failed build says.
    fn failure(&self) -> String {
        self.build().expect_err("the build fails").to_string()
    }
}

fn failure(one: &str, two: &str) -> String {
    Fixture::new(one, two).failure()
}

#[test]
fn rules_get_an_anchor_and_links_reach_it() {
    let fixture = Fixture::new(RULE, "# Two\n\nSee [r:a.b], and `[r:a.b]` as text.\n");
    let report = fixture.build().expect("the book builds");
    assert_eq!((report.chapters, report.rules), (2, 1));
    assert!(fixture.page("one.html").contains("id=\"r-a.b\""));
    let two = fixture.page("sub/two.html");
    assert!(two.contains("href=\"../one.html#r-a.b\""), "{two}");
    assert!(two.contains("<code>[r:a.b]</code>"), "{two}");
}

#[test]
fn vectors_are_listed_at_the_rules_that_they_cite() {
    let fixture = Fixture::new(RULE, "# Two\n");
    fixture.write("book/src/conformance/sessions.md", "# S\n\n<!-- generated: sessions -->\n");
    fixture.write("book/src/rules.md", "# R\n\n<!-- generated: rule-counts -->\n\n<!-- generated: rule-index -->\n");
    fixture.write("book/src/SUMMARY.md", &format!("{SUMMARY}[S](conformance/sessions.md)\n[R](rules.md)\n"));
    fixture.write(
        "vectors/sessions/x/y.json",
        r#"{"id": "x.y", "title": "a peer lives", "rules": ["a.b"], "profile": "core", "steps": [{"fence": true}]}"#,
    );
    fixture.build().expect("the book builds");
    assert!(fixture.page("one.html").contains("href=\"conformance/sessions.html#session-x.y\""));
    assert!(fixture.page("rules.html").contains("href=\"one.html#r-a.b\""));
    let sessions = fixture.page("conformance/sessions.html");
    let (summary, place) =
        (sessions.find("</summary>").expect("a summary"), sessions.find("id=\"session-x.y\"").expect("a place"));
    assert!(summary < place && place < sessions.find("</details>").expect("an end"), "a link opens only what it leads into");
}

#[test]
fn an_area_with_a_page_has_its_sessions_there() {
    let fixture = Fixture::new(RULE, "# Two\n");
    fixture.write("book/src/conformance/sessions.md", "# S\n\n<!-- generated: sessions -->\n");
    fixture.write("book/src/conformance/sessions/x.md", "# X\n\n<!-- generated: sessions x -->\n");
    let pages = "[S](conformance/sessions.md)\n[X](conformance/sessions/x.md)\n";
    fixture.write("book/src/SUMMARY.md", &format!("{SUMMARY}{pages}"));
    for (area, steps) in [("x", r#"[{"send": {"type": "nonsense"}}, {"fence": true}]"#), ("z", r#"[{"fence": true}]"#)] {
        fixture.write(
            &format!("vectors/sessions/{area}/y.json"),
            &format!(r#"{{"id": "{area}.y", "title": "{area} lives", "rules": ["a.b"], "profile": "core", "steps": {steps}}}"#),
        );
    }
    fixture.build().expect("the book builds");
    let area = fixture.page("conformance/sessions/x.html");
    assert!(area.contains("id=\"session-x.y\"") && !area.contains("id=\"session-z.y\""), "{area}");
    assert!(area.contains("class=\"sequence\"") && area.contains(">nonsense</text>"), "{area}");
    let rest = fixture.page("conformance/sessions.html");
    assert!(rest.contains("href=\"../conformance/sessions/x.html\"") && rest.contains("id=\"session-z.y\""), "{rest}");
    assert!(fixture.page("one.html").contains("href=\"conformance/sessions/x.html#session-x.y\""));
}

#[test]
fn the_page_of_coverage_and_the_box_of_a_rule_lead_to_each_other() {
    let fixture = Fixture::new(&format!("{RULE}\nr[a.c]\nA peer SHOULD stay.\nUntestable: nobody sees it.\n"), "# Two\n");
    fixture.write("book/src/conformance/coverage.md", "# C\n\n<!-- generated: coverage -->\n");
    fixture.write("book/src/SUMMARY.md", &format!("{SUMMARY}[C](conformance/coverage.md)\n"));
    fixture.write("spec/schemas/message.emit.schema.json", r#"{"allOf": [{"type": "object", "x-rule": "a.b"}]}"#);
    fixture.write("conformance/mutants/a.toml", "[[mutant]]\nrule = \"a.b\"\ntitle = \"it lets <go>\"\nother = 1\n");
    fixture.build().expect("the book builds");
    let page = fixture.page("conformance/coverage.html");
    assert!(page.contains("id=\"c-a.b\"") && page.contains("<a href=\"../one.html#r-a.b\">1</a>"), "{page}");
    assert!(page.contains("<code>MUST</code></td><td>1</td><td>1</td><td>0</td><td>1</td>"), "{page}");
    assert!(page.contains("<code>SHOULD</code></td><td>1</td><td>0</td><td>1</td><td>0</td>"), "{page}");
    let one = fixture.page("one.html");
    assert!(one.contains("it lets &lt;go&gt;") && one.contains("href=\"conformance/coverage.html#c-a.b\""), "{one}");
}

#[test]
fn messages_that_no_session_can_carry_are_counted_apart() {
    let fixture = Fixture::new(RULE, "# Two\n");
    fixture.write("book/src/conformance/coverage.md", "# C\n\n<!-- generated: coverage -->\n");
    fixture.write("book/src/conformance/messages.md", "# M\n\n<!-- generated: messages -->\n");
    let pages = "[C](conformance/coverage.md)\n[M](conformance/messages.md)\n";
    fixture.write("book/src/SUMMARY.md", &format!("{SUMMARY}{pages}"));
    for (name, method) in [("carried", "conformance.echo"), ("alone", "another"), ("alone-too", "another")] {
        let message = format!(r#"{{"type": "req", "id": 1, "method": "{method}", "payload": 1}}"#);
        fixture.write(
            &format!("vectors/messages/x/{name}.json"),
            &format!(
                r#"{{"id": "x.{name}", "rules": ["a.b"], "title": "t", "valid": true, "message": {message}, "json": "{{}}"}}"#
            ),
        );
    }
    fixture.build().expect("the book builds");
    let page = fixture.page("conformance/coverage.html");
    assert!(page.contains("Of 3 message vectors, a session can carry 1 to a peer; the other 2"), "{page}");
    let link = |number| format!("<a href=\"../one.html#r-a.b\">{number}</a>");
    let place = |number: u8| page.find(&link(number)).unwrap_or_else(|| panic!("{number}: {page}"));
    assert!(place(1) < place(2), "{page}");
}

const RESULTS: &str = r#"{"format": 1, "target": "perl", "name": "Peer<1>", "version": "2.0", "language": "Perl", "harness": "0.1.0",
    "homepage": "javascript:alert(1)", "suite": "SUITE", "selected": 9, "configurations": ["tcp acceptor length json"],
    "profiles": {}, "not_claimed": [{"what": "profile streaming", "cases": 1}],
    "rules": {"a.b": {"held": 1, "known": 2}, "a.c": {"held": 3}, "a.d": {"not-claimed": 1}},
    "failures": [{"rule": "a.b", "outcome": "known", "why": "it | lets <go> `of` it", "cases": ["x.y", "observe:a.b"]}]}"#;

/// A book with a comparison of one implementation, measured with the vectors of this revision; nothing for the book's own.
fn compared(results: &str) -> Fixture {
    let more = ["c", "d", "e"].map(|id| format!("\nr[a.{id}]\nA peer MUST go.\n")).concat();
    let fixture = Fixture::new(&format!("{RULE}{more}"), "# Two\n");
    fixture.write("book/src/conformance/comparison.md", "# C\n\n<!-- generated: comparison -->\n");
    fixture.write("book/src/conformance/sessions.md", "# S\n\n<!-- generated: sessions -->\n");
    fixture.write("book/src/SUMMARY.md", &format!("{SUMMARY}[C](conformance/comparison.md)\n[S](conformance/sessions.md)\n"));
    fixture.write(
        "vectors/sessions/x/y.json",
        r#"{"id": "x.y", "title": "a peer lives", "rules": ["a.b"], "profile": "core", "steps": [{"fence": true}]}"#,
    );
    let revision = duplex_vectors::Corpus::load(&fixture.root.path().join("vectors")).expect("vectors").revision();
    fixture.write("conformance/results/perl.json", &results.replace("SUITE", &revision));
    fixture
}

#[test]
fn implementations_are_compared_rule_by_rule() {
    let fixture = compared(RESULTS);
    fixture.build().expect("the book builds, and every link of the table leads somewhere");
    let page = fixture.page("conformance/comparison.html");
    assert!(page.contains("<a href=\"#x-perl-a.b\">✗ fails 2/3</a>"), "{page}");
    for cell in ["✓ holds 3/3", "not claimed", "no case"] {
        assert!(page.contains(&format!("<td>{cell}</td>")), "{cell}: {page}");
    }
    assert!(
        page.contains("href=\"../conformance/sessions.html#session-x.y\"") && page.contains("<code>observe:a.b</code>"),
        "{page}"
    );
    assert!(page.contains("of 4 rules") && page.contains("<td>✗ fail</td><td style=\"text-align: right\">1</td>"), "{page}");
    assert!(!page.contains("javascript:") && !page.contains("<go>") && !page.contains("Peer<1>"), "{page}");
    assert!(!page.contains("Measured with other vectors"), "{page}");
}

#[test]
fn a_comparison_says_when_the_vectors_have_changed() {
    let fixture = compared(&RESULTS.replace("SUITE", "0123456789abcdef"));
    fixture.build().expect("the book builds: measuring again takes minutes, and an edit of a vector must not");
    let page = fixture.page("conformance/comparison.html");
    assert!(page.contains("Measured with other vectors") && page.contains("0123456789abcdef"), "{page}");
}

#[test]
fn results_that_do_not_parse_fail() {
    let what = compared("{\"format\": 1}").failure();
    assert!(what.contains("conformance/results/perl.json: missing field") && what.contains("cargo xtask compare"), "{what}");
}

#[test]
fn a_mutant_that_breaks_no_rule_of_the_book_fails() {
    let fixture = Fixture::new(RULE, "# Two\n");
    fixture.write("conformance/mutants/a.toml", "[[mutant]]\nrule = \"no.rule\"\ntitle = \"t\"\n");
    assert_eq!(fixture.failure(), "conformance/mutants: cites rule `no.rule`, which no chapter has");
    fixture.write("conformance/mutants/a.toml", "[[mutant]]\nrule = 1\n");
    assert!(fixture.failure().contains("conformance/mutants/a.toml: TOML parse error"), "{}", fixture.failure());
}

#[test]
fn a_vector_that_cites_no_rule_of_the_book_fails() {
    let fixture = Fixture::new(RULE, "# Two\n");
    fixture.write(
        "vectors/sessions/x/y.json",
        r#"{"id": "x.y", "title": "a peer lives", "rules": ["no.rule"], "profile": "core", "steps": []}"#,
    );
    assert_eq!(fixture.failure(), "session vector `x.y`: cites rule `no.rule`, which no chapter has");
}

#[test]
fn a_requirement_without_an_id_fails() {
    let what = failure("# One\n\nA peer MUST hold.\n", "# Two\n");
    assert!(what.starts_with("book/src/one.md:3: a MUST without a rule id"), "{what}");
}

#[test]
fn a_rule_inside_a_paragraph_fails() {
    let what = failure("# One\n\nr[a.b]\nA peer MUST hold.\nr[a.c]\nA peer MUST stay.\n", "# Two\n");
    assert!(what.contains("book/src/one.md:5: `r[a.c]` starts inside a paragraph"), "{what}");
}

#[test]
fn an_id_that_stands_twice_fails() {
    assert_eq!(failure(RULE, RULE), "book/src/sub/two.md: rule `a.b` stands in one.md already");
}

#[test]
fn a_rule_link_without_a_rule_fails() {
    assert_eq!(failure(RULE, "# Two\n\nSee [r:a.c].\n"), "book/src/sub/two.md:3: links to rule `a.c`, which no chapter has");
}

#[test]
fn a_link_without_a_page_fails() {
    let what = failure(RULE, "# Two\n\n[there](../three.md)\n");
    assert!(what.contains("sub/two.html: links to `../three.html`, and there is no such page"), "{what}");
}

#[test]
fn a_link_without_an_anchor_fails() {
    let what = failure(RULE, "# Two\n\n[there](../one.md#nowhere)\n");
    assert!(what.contains("sub/two.html: links to `../one.html#nowhere`, and that page has no `nowhere`"), "{what}");
}

#[test]
fn a_resource_from_the_network_fails() {
    let what = failure(RULE, "# Two\n\n![picture](https://example.com/x.png)\n");
    assert!(what.contains("loads `https://example.com/x.png` from the network"), "{what}");
}

#[test]
fn an_unknown_generated_part_fails() {
    let what = failure(RULE, "# Two\n\n<!-- generated: nothing -->\n");
    assert!(what.starts_with("book/src/sub/two.md:3: nothing generated is called `nothing`"), "{what}");
}

#[test]
fn an_example_that_does_not_parse_fails() {
    for (fence, text) in [
        ("json", "{"),
        ("json,data", "[1,]"),
        ("json,invalid", "{\"type\": }"),
        ("json,session", "{\"id\": \"x\"}"),
        ("json,step", "{\"sleep\": 5}"),
        ("json,vector", "{}"),
        ("dialogue", "-> {\"type\":\"req\""),
        ("dialogue,shape", "b <- {\"type\":\"req\""),
    ] {
        let what = failure(RULE, &format!("# Two\n\n```{fence}\n{text}\n```\n"));
        assert!(what.contains("book/src/sub/two.md:") && what.contains("the example does not parse"), "{fence}: {what}");
    }
}

#[test]
fn an_example_of_an_unknown_kind_fails() {
    let what = failure(RULE, "# Two\n\n```json,mesage\n{}\n```\n");
    assert_eq!(what, "book/src/sub/two.md:3: `json,mesage` is no kind of JSON example");
}

#[test]
fn a_dialogue_is_drawn_and_counted() {
    let text = "-> {\"type\":\"req\",\"id\":1}  a <remark>\n<- {\"type\":\"rep\",\"id\":1}\n   and on";
    let fixture = Fixture::new(RULE, &format!("# Two\n\n```dialogue\n{text}\n```\n\n```dialogue,shape\na -> {{}}\n```\n"));
    let report = fixture.build().expect("the book builds");
    assert_eq!((report.dialogues, report.shapes, report.examples), (1, 1, 3));
    let two = fixture.page("sub/two.html");
    assert!(two.contains("<span class=\"out\">-&gt; {") && two.contains("<span class=\"in\">&lt;- {"), "{two}");
    assert!(two.contains("<span class=\"remark\">  a &lt;remark&gt;</span>"), "{two}");
}

#[test]
fn what_looks_like_a_dialogue_is_fenced_as_one() {
    for fence in ["text", "", "sh", "dialogue,shapes"] {
        let what = failure(RULE, &format!("# Two\n\n```{fence}\n-> {{}}\n```\n"));
        assert!(what.starts_with(&format!("book/src/sub/two.md:3: a dialogue fenced `{fence}`")), "{what}");
    }
}

#[test]
fn examples_are_checked_with_the_schema() {
    let schema = r#"{"type": "object", "required": ["type"]}"#;
    let with_schema = |fence: &str, text: &str| {
        let fixture = Fixture::new(RULE, &format!("# Two\n\n```{fence}\n{text}\n```\n"));
        fixture.write("spec/schemas/message.emit.schema.json", schema);
        fixture.build().map(|report| report.examples).map_err(|error| error.to_string())
    };
    assert_eq!(with_schema("json", r#"{"type": "req"}"#), Ok(1));
    assert_eq!(with_schema("json,invalid", r#"{"id": 1}"#), Ok(1));
    assert!(with_schema("json", r#"{"id": 1}"#).is_err_and(|what| what.contains("no message that a sender may write")));
    assert!(with_schema("json,invalid", r#"{"type": "req"}"#).is_err_and(|what| what.contains("is a valid message")));
}

#[test]
fn a_folder_with_other_files_is_not_emptied() {
    let fixture = Fixture::new(RULE, "# Two\n");
    fixture.write("out/precious.txt", "x");
    assert!(matches!(fixture.build(), Err(BookError::NotOurs(_))));
    assert!(fixture.root.path().join("out/precious.txt").exists());
}

#[test]
fn a_second_build_replaces_the_first() {
    let fixture = Fixture::new(RULE, "# Two\n");
    fixture.build().expect("the book builds");
    fixture.write("book/src/sub/two.md", "# Two\n\nNew words.\n");
    fixture.build().expect("the book builds again");
    assert!(fixture.page("sub/two.html").contains("New words."));
}

#[test]
fn a_missing_chapter_is_named() {
    let fixture = Fixture::new(RULE, "# Two\n");
    fs::remove_file(fixture.root.path().join("book/src/one.md")).expect("a file");
    assert!(matches!(fixture.build(), Err(BookError::Io { path, .. }) if path.ends_with(Path::new("book/src/one.md"))));
}

#[test]
fn a_rust_program_is_compiled_or_says_that_it_is_not() {
    let program = "# Two\n\n```rust\nfn main() {}\n```\n";
    let fixture = Fixture::new(RULE, program);
    assert!(fixture.failure().contains("nothing compiles this program"));
    fixture.write("reference-peer/src/lib.rs", "#[doc = include_str!(\"../../book/src/sub/two.md\")]\nmod guide {}\n");
    fixture.build().expect("the chapter is among the compiled ones");
    Fixture::new(RULE, &program.replace("rust", "rust,shape")).build().expect("it says so");
}

#[test]
fn figures_stand_beside_each_other_and_beside_the_floor() {
    let fixture = Fixture::new(RULE, "# Two\n\n<!-- generated: figures -->\n");
    fixture.build().expect("a repository without figures has a book all the same");
    assert!(fixture.page("sub/two.html").contains("Nothing was measured yet"));
    fixture.write(
        "bench/results.json",
        r#"{"rounds": 7, "processors": 2, "stacks": ["floor", "duplex", "other"],
            "rows": [{"workload": "small calls", "unit": "calls/s", "rates": [2000.0, 1500.4, null]}],
            "cost": {"connections": 10000, "connection": {"caller": 1, "provider": 2}, "channels": 5, "channel": {"caller": 3, "provider": 4},
                     "after_calls": [[0, 10.0]], "beside_channels": [[0, 20.0], [10, 1234567.0]]}}"#,
    );
    fixture.build().expect("the figures parse");
    let page = fixture.page("sub/two.html");
    for cell in ["2,000", "1,500", "75 %", "–", "10,000", "1,234,567"] {
        assert!(page.contains(&format!(">{cell}</td>")) || page.contains(&format!(">{cell}</th>")), "{cell}: {page}");
    }
    fixture.write("bench/results.json", "{}");
    let what = fixture.failure();
    assert!(what.contains("bench/results.json: missing field") && what.contains("cargo xtask bench"), "{what}");
}
