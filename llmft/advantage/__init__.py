"""From the rewards of a group to the credit of each response: pure functions of lists."""
