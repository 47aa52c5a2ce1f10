"""Did a response call the right functions, with the right arguments, or none where none fits?"""
