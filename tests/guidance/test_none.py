from llmft.guidance.none import Unguided
from llmft.protocols import Drawn, Plan
from llmft.seeds import Seeds
from llmft.types import Task


def test_every_place_is_the_policys_own():
    guidance = Unguided()
    drawn = [Drawn(place, Task(str(place), (), "math")) for place in range(3)]
    assert guidance.plan(drawn, 8, Seeds(0)) == [Plan(own=8, given=())] * 3
    guidance.observe([])
    guidance.load_state_dict(guidance.state_dict())
    assert guidance.state_dict() == {}
