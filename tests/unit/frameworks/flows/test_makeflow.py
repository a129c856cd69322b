"""The workflow language, sentence by sentence."""

from __future__ import annotations

import pytest

from altiplano.frameworks.flows import makeflow
from altiplano.frameworks.flows.workflow import Kind, Rule, Workflow, WorkflowError


def read(text: str, **environment: str) -> Workflow:
    return makeflow.parse(text, file="w.mf", environment=environment)


def only_rule(text: str, **environment: str) -> Rule:
    (rule,) = read(text, **environment).rules
    return rule


def command(text: str, **environment: str) -> str:
    """The command of a rule without files behind the lines of `text`."""
    return only_rule(text, **environment).command


def problems(text: str, **environment: str) -> list[str]:
    with pytest.raises(WorkflowError) as caught:
        read(text, **environment)
    return [str(problem) for problem in caught.value.problems]


def names(uses: object) -> list[str]:
    return [use.local for use in uses]  # type: ignore[attr-defined]


# Lines


def test_a_rule_is_a_head_and_one_command() -> None:
    rule = only_rule("a b : c d\n\tcat c d > a\n")
    assert (names(rule.outputs), names(rule.inputs), rule.command) == (["a", "b"], ["c", "d"], "cat c d > a")
    assert (rule.number, rule.line, rule.kind) == (0, 1, Kind.REMOTE)


@pytest.mark.parametrize("head", [":", "a:", ": b", "a : b"])
def test_either_list_may_be_empty(head: str) -> None:
    assert only_rule(f"{head}\n\ttrue\n").command == "true"


@pytest.mark.parametrize("between", ["", "\n", "  \t\n", "# note\n", "   # note\n", "\n# a\n \n"])
def test_blank_lines_and_comments_may_stand_before_the_command(between: str) -> None:
    assert command(f"a:\n{between} make a\n") == "make a"


def test_a_file_named_twice_in_a_rule_counts_once() -> None:
    rule = only_rule("a a: b b\n\ttrue\n")
    assert (names(rule.outputs), names(rule.inputs)) == (["a"], ["b"])


def test_an_empty_file_is_a_workflow_without_rules() -> None:
    assert read("").rules == ()
    assert read("# nothing\n\n").rules == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:\n\ttrue\n\ttwice\n", "w.mf:3: a second command line: a rule has one; join them with ';'"),
        ("\ttrue\n", "w.mf:1: a command without a rule above it"),
        ("a:\nb:\n\ttrue\n", "w.mf:1: this rule has no command"),
        ("a: b\n", "w.mf:1: this rule has no command"),
        ("a b c\n", "w.mf:1: 'a b c' is neither a variable (NAME=value) nor a rule"),
        ("a: b: c\n\ttrue\n", "w.mf:1: a rule has one ':'"),
        ("a: x=y\n\ttrue\n", "w.mf:1: a file name with '=' in it must be quoted"),
        (".FOO bar\n", "w.mf:1: .FOO is no directive"),
        (".MAKEFLOW GPUS 1\n", "w.mf:1: .MAKEFLOW is followed by one of"),
        (".MAKEFLOW MODE MAX\n", "w.mf:1: .MAKEFLOW is followed by one of"),
        ('.MAKEFLOW CORES "4"\n', "w.mf:1: .MAKEFLOW CORES takes a plain number, without quotes"),
        (".MAKEFLOW CORES many\n", "w.mf:1: CORES counts cores, as a plain number; 'many' is none"),
        (".MAKEFLOW MPI_PROCESSES x\n", "w.mf:1: MPI_PROCESSES counts processes"),
        (".SIZE a\n", "w.mf:1: .SIZE is followed by a file and its bytes"),
        (".SIZE a big\n", "w.mf:1: .SIZE is followed by a file and its bytes"),
        (".UMBRELLA f\n", "w.mf:1: .UMBRELLA is followed by SPEC"),
        ("MEMORY=4G\n", "w.mf:1: MEMORY counts MB, as a plain number; '4G' is none"),
        ("CATEGORY=\n", "w.mf:1: CATEGORY needs a name"),
        ("@X=1\n", "w.mf:1: @X belongs between a rule's head and its command"),
        ("a:\n.MAKEFLOW CORES 1\n\ttrue\n", "w.mf:2: .MAKEFLOW may not stand between"),
        ("a:\nexport X\n\ttrue\n", "w.mf:2: export stands before a rule's head"),
        ("export a-b\n", "w.mf:1: 'a-b' cannot be the name of a variable"),
        ("a: -x\n\ttrue\n", "w.mf:1: '-x' begins with a dash, which no file name may; write ./-x"),
        ("a: ''\n\ttrue\n", "w.mf:1: a file name is empty"),
        ("a: b->\n\ttrue\n", "w.mf:1: 'b->' is not followed by the name on the agent"),
        ("a: ->b\n\ttrue\n", "w.mf:1: '->' stands between two names"),
        ("a: b->c\n\tLOCAL true\n", "w.mf:1: 'b->c': a LOCAL rule cannot rename files"),
        ("a:\n\tLOCAL\n", "w.mf:2: LOCAL is followed by a command"),
        ("a:\n\tMAKEFLOW\n", "w.mf:2: MAKEFLOW is followed by one workflow file"),
        ("a:\n\tMAKEFLOW b c\n", "w.mf:2: MAKEFLOW is followed by one workflow file and nothing else"),
        ("a:\n\techo $X\n", "w.mf:2: the variable X is not defined here, not even in the environment"),
        ("a:\n\techo $X\nX=1\n", "w.mf:2: the variable X is not defined here, it is defined on line 3, below"),
        ("Y=$X\n", "w.mf:1: the variable X is not defined here"),
        ("a:\n\techo $$\n", "w.mf:2: '$$' names no variable"),
        ("a:\n\techo $(date +%s)\n", "w.mf:2: '$(date +%s)' names no variable"),
        ("N=X\nX=1\na:\n\techo $($(N))\n", "w.mf:4: '$($(N))' names no variable"),
        ("a:\n\techo $ \n", "w.mf:2: a '$' must be followed by the name of a variable"),
        ("a:\n\techo 'x\n", "w.mf:2: a ' is opened and not closed"),
        ('a:\n\techo "x\n', 'w.mf:2: a " is opened and not closed'),
        ('a:\n\techo "it\'s"\n', "w.mf:2: a ' is opened and not closed"),
    ],
)
def test_a_bad_line_is_named_with_the_way_out(text: str, expected: str) -> None:
    assert problems(text)[0].startswith(expected)


def test_all_problems_of_a_file_are_told_at_once_and_in_order() -> None:
    told = problems("a:\n\techo $X\n.FOO\nb: c\nc: -d\n\techo 'x\n")
    assert [line.split(":")[1] for line in told] == ["2", "3", "4", "5", "6"]


def test_problems_are_limited() -> None:
    assert len(problems(".FOO\n" * 1000)) == makeflow.PROBLEMS_MAX


# Variables


@pytest.mark.parametrize("use", ["$NAME", "$(NAME)", "${NAME}"])
def test_the_three_ways_to_use_a_variable(use: str) -> None:
    assert command(f"NAME=value\n:\n\techo {use}.\n") == "echo value."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("X=1\nY=$X\nX=2\n:\n\techo $X $Y\n", "echo 2 1"),
        ("X=a\nX+=b\n:\n\techo $X\n", "echo a b"),
        ("X+=b\n:\n\techo $X\n", "echo b"),
        ("X = spaced   \n:\n\techo $X.\n", "echo spaced."),
        ("X=1\n:\n\techo $X\nX=2\n", "echo 1"),
        ('X="a b"\n:\n\techo $X\n', 'echo "a b"'),
        ("X=a \\\n  b\n:\n\techo $X\n", "echo a    b"),
        ("X=1 # note\n:\n\techo $X.\n", "echo 1."),
        ("X=\n:\n\techo [$X]\n", "echo []"),
        ("X=\\$HOME\n:\n\techo $X\n", "echo $HOME"),
    ],
)
def test_values_are_expanded_where_they_are_defined(text: str, expected: str) -> None:
    assert command(text) == expected


def test_the_environment_is_the_last_place_to_look() -> None:
    assert command(":\n\techo $X\n", X="env") == "echo env"
    assert command("X=file\n:\n\techo $X\n", X="env") == "echo file"


def test_appending_to_a_name_of_the_environment_starts_from_its_value() -> None:
    assert command("X+=more\n:\n\techo $X\n", X="env") == "echo env more"


@pytest.mark.parametrize("sign", ["", "@"])
def test_variables_between_head_and_command_belong_to_the_rule(sign: str) -> None:
    first, second = read(f"X=all\n:\n{sign}X=mine\n\techo $X\n:\n\techo $X 2\n").rules
    assert (first.command, second.command) == ("echo mine", "echo all 2")


def test_appending_in_a_rule_starts_from_what_the_rule_sees() -> None:
    assert command("X=all\n:\nX+=mine\n\techo $X\n") == "echo all mine"


def test_an_indented_assignment_below_a_head_is_its_command() -> None:
    assert command(":\n X=1 make\n") == "X=1 make"


def test_variables_of_a_category_belong_to_it_alone() -> None:
    text = "X=all\nCATEGORY=c\nX=inc\n:\n\techo $X\nCATEGORY=d\n:\n\techo $X 2\n.MAKEFLOW CATEGORY c\n:\n\techo $X 3\n"
    assert [rule.command for rule in read(text).rules] == ["echo inc", "echo all 2", "echo inc 3"]
    assert [rule.category for rule in read(text).rules] == ["c", "d", "c"]


def test_appending_in_a_category_changes_the_general_value() -> None:
    text = "X=a\nCATEGORY=c\nX+=b\nCATEGORY=d\n:\n\techo $X\n"
    assert command(text) == "echo a b"


def test_quotes_around_a_category_are_taken_off() -> None:
    assert only_rule('CATEGORY="c"\n:\n\ttrue\n').category == "c"
    assert only_rule("SYMBOL=s\n:\n\ttrue\n").category == "s"


def test_a_rule_may_name_its_own_category() -> None:
    first, second = read("CATEGORY=c\nX=1\nCATEGORY=default\n:\n@CATEGORY=c\n\techo $X\n:\n\ttrue\n").rules
    assert (first.category, first.command, second.category) == ("c", "echo 1", "default")


# Quotes, backslashes, comments


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (r"echo \$HOME \$(date) \$\$", "echo $HOME $(date) $$"),
        (r"awk '{print $2}'", "awk '{print $2}'"),
        ('echo "$X"', 'echo "1"'),
        ("echo '$X'", "echo '$X'"),
        ("echo \"'$X'\"", "echo \"'$X'\""),
        ("echo '\"'$X", "echo '\"'1"),
        (r"echo \\ \" \'", "echo \\ \" '"),
        (r'echo "\$X \\ \""', 'echo "$X \\ ""'),
        (r"echo '\$X \\ \''", "echo '$X \\ ''"),
        (r'printf "a\tb\n"', 'printf "a\tb\n"'),
        (r'printf "\a\b\f\r\v\q"', 'printf "\a\b\f\r\vq"'),
        (r"printf 'a\nb'", "printf 'anb'"),
        (r"printf 'a\\nb'", r"printf 'a\nb'"),
        (r"printf a\nb", "printf anb"),
        ("echo a#b", "echo a"),
        ("echo 'a#b' \"c#d\" e\\#f # g", "echo 'a#b' \"c#d\" e#f"),
        ("a < b > c | d & e; f", "a < b > c | d & e; f"),
        ("echo a \\\n\tb", "echo a  \tb"),
        ("echo a \\\n  b \\\n  c", "echo a    b    c"),
    ],
)
def test_how_commands_reach_the_shell(written: str, expected: str) -> None:
    assert command(f"X=1\n:\n\t{written}\n") == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("'a b' \"c d\" e\\ f", ["a b", "c d", "e f"]),
        ("'a:b' c\\:d 'e=f' g\\=h", ["a:b", "c:d", "e=f", "g=h"]),
        ("a(1) x+y größe a-b- ./a a", ["a(1)", "x+y", "größe", "a-b-", "./a", "a"]),
        ("/abs/path ../up a~ %d", ["/abs/path", "../up", "a~", "%d"]),
        ("pre$X.post", ["pre1.post"]),
        ("$MANY", ["a", "b", "c"]),
        ("x$MANY.y", ["xa", "b", "c.y"]),
        ("$QUOTED", ["q r"]),
        ("'$X'", ["$X"]),
        ('"$X"', ["1"]),
        ("a \\\n b", ["a", "b"]),
        ("a # b", ["a"]),
        ("'a->b'", ["a->b"]),
    ],
)
def test_how_file_names_are_read(written: str, expected: str) -> None:
    rule = only_rule(f"X=1\nMANY=a b  c\nQUOTED='q r'\n: {written}\n\ttrue\n")
    assert names(rule.inputs) == expected


@pytest.mark.parametrize("written", ["a->b", "a ->b", "a-> b", "a -> b", "$ARROW"])
def test_a_file_may_have_another_name_on_the_agent(written: str) -> None:
    rule = only_rule(f"ARROW=a->b\n{written} : {written} c\n\ttrue\n")
    assert [(use.local, use.remote) for use in rule.outputs] == [("a", "b")]
    assert [(use.local, use.remote) for use in rule.inputs] == [("a", "b"), ("c", "c")]


# Kinder than the original in four points


def test_lines_may_end_with_cr_lf() -> None:
    assert command("X=1\r\na: \\\r\n b\r\n\techo $X\r\n") == "echo 1"


def test_the_last_line_needs_no_end() -> None:
    assert command(":\n\ttrue") == "true"
    assert read("X=1").rules == ()


def test_words_and_values_may_be_long() -> None:
    assert command(f"X={'x' * 5000}\n:\n\techo $X {'y' * 5000}\n") == f"echo {'x' * 5000} {'y' * 5000}"


def test_lists_of_files_may_be_joined_by_backslashes() -> None:
    rule = only_rule("a \\\n  b : \\\n  c\\\nd\n\ttrue\n")
    assert (names(rule.outputs), names(rule.inputs), rule.line) == (["a", "b"], ["c", "d"], 1)


# Directives, prefixes, resources


def test_directives_are_read() -> None:
    workflow = read(".SIZE a 100\n.SIZE b 10K\n.MAKEFLOW MODE MIN_WASTE\n.UMBRELLA SPEC u.json\n:\n\ttrue\n")
    assert workflow.sizes == {"a": 100, "b": 10240}
    assert (workflow.mode, workflow.umbrella_spec) == ("MIN_WASTE", "u.json")
    assert ["UMBRELLA" in str(warning) for warning in workflow.warnings] == [True]


def test_what_has_no_effect_here_is_said() -> None:
    text = ".MAKEFLOW MPI_PROCESSES 4\n:\n@BATCH_OPTIONS=-q long\n\ttrue\n"
    workflow = read(text)
    assert [warning.line for warning in workflow.warnings] == [1, 2]
    assert workflow.rules[0].batch_options == "-q long"


@pytest.mark.parametrize(
    "text",
    [
        ":\n\tLOCAL  echo hi\n",
        "P=LOCAL\n:\n\t$P echo hi\n",
        ":\nBATCH_LOCAL=1\n\techo hi\n",
        "BATCH_LOCAL=1\n:\n\techo hi\n",
    ],
)
def test_local_rules_run_at_the_manager(text: str) -> None:
    rule = only_rule(text)
    assert (rule.kind, rule.command) == (Kind.LOCAL, "echo hi")


@pytest.mark.parametrize("written", ["LOCALLY x", "LOCAL/x y", "WORKFLOW a"])
def test_only_whole_words_are_prefixes(written: str) -> None:
    rule = only_rule(f":\n\t{written}\n")
    assert (rule.kind, rule.command) == (Kind.REMOTE, written)


def test_a_nested_workflow_is_an_input_of_its_rule() -> None:
    rule = only_rule("a: b\n\tMAKEFLOW 'sub flow.mf'\n")
    assert (rule.kind, rule.command, names(rule.inputs)) == (Kind.NESTED, "sub flow.mf", ["b", "sub flow.mf"])
    assert names(only_rule("a: s\n\tMAKEFLOW s\n").inputs) == ["s"]
    assert only_rule("a: s\n\tLOCAL MAKEFLOW s\n").kind is Kind.NESTED


def test_resources_come_from_rule_category_file_and_environment_in_this_order() -> None:
    text = (
        "MEMORY=100\nCATEGORY=c\n.MAKEFLOW CORES 2\n.MAKEFLOW DISK 50\nWALL_TIME=60\nGPUS=1\n"
        ":\n@MEMORY=300\n\ttrue\n:\n\tfalse\n"
    )
    first, second = read(text, DISK="7", CORES="9").rules
    assert (first.needs.cores_milli, first.needs.mem_mb, first.needs.disk_mb) == (2000, 300, 50)
    assert (second.needs.mem_mb, second.needs.gpus, second.needs.wall_time_s) == (100, 1, 60)
    assert only_rule(":\n\ttrue\n", DISK="7").needs.disk_mb == 7


def test_a_number_of_the_environment_that_is_none_is_told_at_the_rule() -> None:
    assert problems(":\n\ttrue\n", MEMORY="lots") == ["w.mf:1: MEMORY counts MB, as a plain number; 'lots' is none"]


def test_cores_may_be_a_fraction_and_zero_says_nothing() -> None:
    assert only_rule("CORES=0.5\n:\n\ttrue\n").needs.cores_milli == 500
    assert only_rule("CORES=0\n:\n\ttrue\n").needs.cores_milli is None


def test_jobs_see_their_resources() -> None:
    assert dict(only_rule(":\n\ttrue\n").environment) == {"CORES": "1", "OMP_NUM_THREADS": "1"}
    text = "CATEGORY=c\nCORES=4\nMEMORY=10\nDISK=20\n:\n\ttrue\n"
    assert dict(only_rule(text).environment) == {
        "CATEGORY": "c",
        "CORES": "4",
        "OMP_NUM_THREADS": "4",
        "MEMORY": "10",
        "DISK": "20",
    }


def test_exports_reach_every_rule_with_the_value_of_its_line() -> None:
    text = 'export X Y\nX=1\n:\n\ttrue\nX=2\nexport Z="a b"\n:\n\tfalse\n'
    first, second = read(text, Y="env").rules
    assert dict(first.exports) == {"X": "1", "Y": "env"}
    assert dict(second.exports) == {"X": "2", "Y": "env", "Z": "a b"}
    assert second.environment[:3] == second.exports


def test_a_file_called_export_can_be_made() -> None:
    assert names(only_rule("export: a\n\ttrue\n").outputs) == ["export"]
    assert names(only_rule("export : a\n\ttrue\n").outputs) == ["export"]


def test_the_declared_boundary_is_kept() -> None:
    workflow = read('MAKEFLOW_INPUTS="a b"\nMAKEFLOW_OUTPUTS=c\nc: a b\n\ttrue\n')
    assert (workflow.declared_inputs, workflow.declared_outputs) == (("a", "b"), ("c",))


def test_bytes_that_are_no_utf8_survive_as_file_names() -> None:
    text = makeflow.decode(b"a\xff: b\n\ttrue\n", file="w.mf")
    assert names(only_rule(text).outputs)[0].encode("utf-8", "surrogateescape") == b"a\xff"


def test_a_file_beyond_the_limit_is_refused() -> None:
    with pytest.raises(WorkflowError, match=r"larger than 64 MiB"):
        makeflow.decode(bytes(makeflow.FILE_BYTES_MAX + 1), file="w.mf")
