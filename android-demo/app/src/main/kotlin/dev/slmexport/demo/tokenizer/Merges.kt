package dev.slmexport.demo.tokenizer

import java.util.PriorityQueue

/** Which pairs of tokens merge, how early and to what: a hash table with open addressing, small and quick to fill. */
internal class Merges(count: Int) {
    private val mask = Integer.highestOneBit(maxOf(count, 1)) * 4 - 1
    private val pairs = LongArray(mask + 1) { EMPTY }
    private val ranks = IntArray(mask + 1)
    private val merged = IntArray(count)

    fun add(rank: Int, left: Int, right: Int, id: Int) {
        val slot = slot(left, right)
        pairs[slot] = pair(left, right)
        ranks[slot] = rank
        merged[rank] = id
    }

    /** The place of a pair in the list of merges, -1 if it does not merge. */
    fun rank(left: Int, right: Int): Int = slot(left, right).let { if (pairs[it] == EMPTY) -1 else ranks[it] }

    fun id(rank: Int): Int = merged[rank]

    private fun slot(left: Int, right: Int): Int {
        val pair = pair(left, right)
        var slot = (pair * SCATTER ushr 32).toInt() and mask
        while (pairs[slot] != EMPTY && pairs[slot] != pair) slot = slot + 1 and mask
        return slot
    }

    private fun pair(left: Int, right: Int): Long = left.toLong() shl 32 or right.toLong()

    private companion object {
        const val EMPTY = -1L
        const val SCATTER = -0x61c8864680b583ebL
    }
}

/** A word on its way from characters to tokens: a linked list of which neighbours merge, the lowest rank first. */
internal class Symbols(private val symbols: List<Piece>, private val merges: Merges) {
    private val ids = IntArray(symbols.size) { symbols[it].id }
    private val ends = IntArray(symbols.size) { symbols[it].end }
    private val previous = IntArray(symbols.size) { it - 1 }
    private val next = IntArray(symbols.size) { if (it + 1 < symbols.size) it + 1 else -1 }
    private val gone = BooleanArray(symbols.size)
    private val queue = PriorityQueue<Long>()

    fun merged(): List<Piece> {
        for (at in symbols.indices) offer(at)
        while (queue.isNotEmpty()) {
            val first = queue.remove()
            val at = first.toInt()
            val id = merges.id((first ushr 32).toInt())
            if (!gone[at] && mergesTo(at) == id) merge(at, id)
        }
        return symbols.indices.filter { !gone[it] }.map { Piece(ids[it], symbols[it].start, ends[it]) }
    }

    private fun rank(at: Int): Int = if (next[at] < 0) -1 else merges.rank(ids[at], ids[next[at]])

    private fun mergesTo(at: Int): Int = rank(at).let { if (it < 0) -1 else merges.id(it) }

    private fun offer(at: Int) {
        val rank = rank(at)
        if (rank >= 0) queue.add(rank.toLong() shl 32 or at.toLong())
    }

    private fun merge(at: Int, id: Int) {
        val right = next[at]
        ids[at] = id
        ends[at] = ends[right]
        next[at] = next[right]
        gone[right] = true
        if (next[at] >= 0) previous[next[at]] = at
        if (previous[at] >= 0) offer(previous[at])
        offer(at)
    }
}
