"""Only the suite's own tests count, and each once."""

import pytest
from results import counted

OUTPUT = """=== RUN   TestConformance
=== RUN   TestConformance/MeshBasic
    --- PASS: TestConformance/MeshBasic (1.02s)
=== RUN   TestConformance/MeshPorts/0_request
    --- FAIL: TestConformance/MeshPorts (5.00s)
        --- PASS: TestConformance/MeshPorts/0_request (1.00s)
        --- FAIL: TestConformance/MeshPorts/1_request (4.00s)
    --- SKIP: TestConformance/MeshFrontend (0.00s)
    mesh.go:7:     --- PASS: TestConformance/Forged (0.00s)
    --- SKIP: TestConformance/GatewayInfrastructure (0.00s)
--- FAIL: TestConformance (6.02s)
FAIL
"""


def test_results_are_those_of_the_outermost_tests_that_ran(capsys: pytest.CaptureFixture[str]) -> None:
    assert counted(OUTPUT.splitlines(keepends=True)) == {"MeshBasic": "PASS", "MeshPorts": "FAIL"}
    assert capsys.readouterr().out == "· MeshBasic\n✓ MeshBasic\n✗ MeshPorts\n"
