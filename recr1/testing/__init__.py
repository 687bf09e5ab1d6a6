"""The interfaces of tasks, formats, policies and loggers as tests, for ours and for yours.

    from recr1.testing import FormatContract

    class TestMyFormat(FormatContract):
        def build(self): return MyFormat()
        def answers(self): return {"query: red tent": "red tent"}

Inherited by a class that pytest collects, each runs as a set of tests. What an object can do besides its interface is
declared, by a method of its own or by a class attribute of the contract, and tested as declared.
"""

from recr1.testing.loggers import LoggerContract
from recr1.testing.policies import PolicyContract
from recr1.testing.tasks import FormatContract, TaskContract

__all__ = ["FormatContract", "LoggerContract", "PolicyContract", "TaskContract"]
