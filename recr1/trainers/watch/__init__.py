"""What watches a training: numbers, validation, alarm, the best policy, the view."""
